"""The layout of the cache, and what a scan makes of good and broken folders, without reading any weights."""

import importlib.util
import json
import os
import time

import pytest

from provider.models.architectures import known_architectures
from provider.models.hub import HubCache, SnapshotInvalid, folder_name, model_id_of
from provider.models.in_use import SnapshotHold, is_in_use
from provider.models.scan import scan_models

KNOWN = frozenset({"llama", "qwen3"})


def write(directory, config=None, name="model.safetensors", size=1000):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps({"model_type": "llama", **(config or {})}))
    (directory / name).parent.mkdir(parents=True, exist_ok=True)
    with (directory / name).open("wb") as file:
        file.truncate(size)
    return directory


@pytest.fixture
def cache(tmp_path):
    return HubCache(tmp_path)


def scan(cache):
    return {model.model_id: model for model in scan_models(cache, architectures=lambda: KNOWN)}


def test_names_of_folders():
    assert folder_name("org/name-4bit") == "models--org--name-4bit"
    assert model_id_of("models--org--name-4bit") == "org/name-4bit"
    for wrong in ("", "..", "/a", "a/", "a//b", "a\\b", "a\nb"):
        with pytest.raises(ValueError, match="no model id"):
            folder_name(wrong)


def test_exact_id_stands_beside_the_snapshots(cache):
    folder = cache.folder("org/a--b")
    write(folder.snapshots / "x")
    assert list(scan(cache)) == ["org/a/b"]
    (folder.path / "model-id").write_text("org/a--b\n")
    assert list(scan(cache)) == ["org/a--b"]
    (folder.path / "model-id").write_text("someone/else")
    assert list(scan(cache)) == ["org/a/b"]


def test_reference_names_the_snapshot_else_the_newest_counts(cache):
    folder = cache.folder("org/m")
    old, new = write(folder.snapshots / "old"), write(folder.snapshots / "new")
    os.utime(old, (1, 1))
    (folder.snapshots / ".staging-x").mkdir()
    assert folder.current() == new
    folder.ref.parent.mkdir()
    folder.ref.write_text("old\n")
    assert folder.current() == old


@pytest.mark.parametrize(
    "content", [b"", b"..", b".", b"a/b", b"a\\b", b"a\0b", b"missing", b"\xff", b"x" * (2**20 + 1)]
)
def test_wrong_reference_makes_the_model_invalid(cache, content):
    folder = cache.folder("org/m")
    write(folder.snapshots / "good")
    folder.ref.parent.mkdir()
    folder.ref.write_bytes(content)
    model = scan(cache)["org/m"]
    assert model.state == "invalid"
    assert model.reason.startswith("refs/main")


def test_reference_that_is_no_file(cache):
    folder = cache.folder("org/m")
    write(folder.snapshots / "good")
    folder.ref.mkdir(parents=True)
    with pytest.raises(SnapshotInvalid, match="not a regular file"):
        folder.current()
    folder.ref.rmdir()
    folder.ref.symlink_to("nowhere")
    with pytest.raises(SnapshotInvalid, match="a link to nothing"):
        folder.current()


def test_unfinished_download_is_named(cache):
    folder = cache.folder("org/m")
    (folder.snapshots / ".staging-v2__m__1").mkdir(parents=True)
    assert scan(cache)["org/m"].reason == "its download is not finished"


@pytest.mark.parametrize(
    ("config", "name", "model_id", "state", "reason"),
    [
        ({}, "model.safetensors", "org/a", "servable", ""),
        ({}, "weights.npz", "org/a-4bit", "servable", ""),
        ({}, "pytorch_model.bin", "org/a", "unsupported", "it is not in MLX format"),
        ({}, "pytorch_model.bin", "mlx-community/a", "servable", ""),
        ({"model_type": "strange"}, "model.safetensors", "org/a", "unsupported", "does not know its architecture"),
        ({"model_file": "own.py"}, "model.safetensors", "org/a", "unsupported", "program code of its own"),
        ({}, "readme.txt", "org/a", "invalid", "no weights"),
    ],
)
def test_states(cache, config, name, model_id, state, reason):
    write(cache.folder(model_id).snapshots / "x", config, name)
    model = scan(cache)[model_id]
    assert model.state == state
    assert reason in model.reason


def test_broken_configurations(cache):
    for name, content in {"a": b"{", "b": b"[]", "c": b"\xff", "d": b"x" * (4 * 2**20 + 1)}.items():
        directory = write(cache.folder(f"org/{name}").snapshots / "x")
        (directory / "config.json").write_bytes(content)
    write(cache.folder("org/e").snapshots / "x")
    (cache.folder("org/e").snapshots / "x" / "config.json").unlink()
    assert {model.state for model in scan(cache).values()} == {"invalid"}


def test_link_to_missing_weights_is_invalid(cache):
    directory = write(cache.folder("org/m").snapshots / "x")
    (directory / "more.safetensors").symlink_to("../../blobs/gone")
    assert "cannot be read" in scan(cache)["org/m"].reason


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        ("m-4bit", {}, "4bit"),
        ("m-Q4", {}, "4bit"),
        ("m-int8", {}, "8bit"),
        ("m-3bit", {}, "3bit"),
        ("m-bf16", {}, "bf16"),
        ("m-fp16", {}, "fp16"),
        ("m", {"quantization": {"bits": 6}}, "6bit"),
        ("m", {"quantization_config": {"bits": 4}}, "4bit"),
        ("m", {}, ""),
        ("q4org/m", {}, ""),
    ],
)
def test_quantization(cache, name, config, expected):
    model_id = name if "/" in name else f"org/{name}"
    write(cache.folder(model_id).snapshots / "x", config)
    assert scan(cache)[model_id].facts.quantization == expected


def test_facts_of_a_nested_configuration(cache):
    text = {
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 32,
        "torch_dtype": "float32",
        "max_position_embeddings": 4096,
    }
    directory = write(cache.folder("org/m").snapshots / "x", {"text_config": text, "vision_config": {}})
    write(directory / "sub", name="adapter.safetensors", size=500)
    facts = scan(cache)["org/m"].facts
    assert (facts.kv_bytes_per_token, facts.layers, facts.context_tokens) == (4096, 4, 4096)
    assert facts.is_vision
    assert facts.disk_bytes == 1500
    assert facts.estimated_memory_gb == pytest.approx(1800 / 2**30)


def test_two_hundred_models_are_listed_quickly_and_no_weight_is_opened(cache, monkeypatch):
    for number in range(200):
        write(cache.folder(f"org/m{number}").snapshots / "x")
    opened = []
    real = os.open

    def watched(path, *arguments, **keywords):
        opened.append(str(path))
        return real(path, *arguments, **keywords)

    monkeypatch.setattr(os, "open", watched)
    began = time.process_time()
    assert len(scan(cache)) == 200
    assert time.process_time() - began < 0.2
    assert not [path for path in opened if "safetensors" in path]


def test_cache_that_is_not_there_is_empty(tmp_path):
    assert list(HubCache(tmp_path / "none").folders()) == []


def test_held_snapshot_is_in_use_until_it_is_released(tmp_path):
    assert not is_in_use(tmp_path)
    hold = SnapshotHold(tmp_path)
    assert is_in_use(tmp_path)
    with SnapshotHold(tmp_path):
        hold.release()
        hold.release()
        assert is_in_use(tmp_path)
    assert not is_in_use(tmp_path)
    assert not is_in_use(tmp_path / "none")


@pytest.mark.skipif(importlib.util.find_spec("mlx_lm") is None, reason="needs the engine")
def test_architectures_of_the_installed_engine_are_found():
    known = known_architectures()
    assert known is not None
    assert {"llama", "qwen3", "mistral"} <= known
    assert "strange" not in known
