"""The weight hash: vectors, file choice, order, failures."""

import hashlib
from pathlib import Path

import pytest

from protocol.weight_hash import (
    FileDigest,
    combine,
    combine_v2,
    digest_file,
    digest_folder,
    integrity_files,
    is_integrity_file,
    role_of,
    weight_hash,
)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_vector_with_a_folder_and_an_ignored_file(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "config.json": '{"model_type":"llama"}',
            "model.safetensors": "weights",
            "sub/adapter.safetensors": "lora",
            "tokenizer.json": "{}",
            "README.md": "hello",
        },
    )
    digests = digest_folder(tmp_path)
    assert [(entry.path, entry.sha256.hex()[:8], entry.size_bytes) for entry in digests] == [
        ("config.json", "fd11fd11", 22),
        ("model.safetensors", "9a129038", 7),
        ("sub/adapter.safetensors", "d339f720", 4),
        ("tokenizer.json", "44136fa3", 2),
    ]
    assert weight_hash(tmp_path) == "5abe960b63d68609dbf3d258051a8637b1e8aa6a4e9fe714ab2e0e23fcf19131"


def test_flat_vector_in_both_versions(tmp_path: Path) -> None:
    write(tmp_path, {"config.json": '{"a":1}', "model.safetensors": "WEIGHTS", "tokenizer.json": "{}"})
    digests = digest_folder(tmp_path)
    assert combine(digests) == "7ac54c8d98e1f194f52ba88e1c8d156fb21d92519dda36c23e09e7714906858a"
    assert combine_v2(digests) == "38a23bbe5d9d80ae1322ac7a349e8a4e7b17ae888952b06fa08a7aeffc442af9"


def test_order_is_by_the_whole_path_not_by_its_parts(tmp_path: Path) -> None:
    write(tmp_path, {"a/x.bin": "1", "a-b/x.bin": "2", "a.bin": "3", "Z.bin": "4"})
    assert integrity_files(tmp_path) == ["Z.bin", "a-b/x.bin", "a.bin", "a/x.bin"]
    shuffled = list(reversed(digest_folder(tmp_path)))
    assert combine(shuffled) == weight_hash(tmp_path)


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("model.safetensors", "weight"),
        ("deep/er/weights.npz", "weight"),
        ("pytorch_model.bin", "weight"),
        ("model.safetensors.index.json", "index"),
        ("config.json", "config"),
        ("tokenizer.model", "tokenizer"),
        ("chat_template.jinja", "template"),
        ("preprocessor_config.json", "preprocessor"),
        ("README.md", "other"),
        ("Config.json", "other"),
        ("model.SAFETENSORS", "other"),
    ],
)
def test_role(path: str, role: str) -> None:
    assert role_of(path) == role
    assert is_integrity_file(path) == (role != "other")


@pytest.mark.parametrize("path", [".config.json", ".cache/model.safetensors", "sub/.x/config.json"])
def test_hidden_files_are_skipped(path: str, tmp_path: Path) -> None:
    assert not is_integrity_file(path)
    assert integrity_files(write(tmp_path, {path: "x"})) == []


def test_file_links_are_followed(tmp_path: Path) -> None:
    write(tmp_path, {"blobs/abc": "WEIGHTS"})
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot/model.safetensors").symlink_to("../blobs/abc")
    assert digest_folder(tmp_path / "snapshot")[0].sha256 == hashlib.sha256(b"WEIGHTS").digest()


def test_empty_folder_and_unreadable_file_are_unknown(tmp_path: Path) -> None:
    assert weight_hash(tmp_path) is None
    assert combine_v2([]) is None
    write(tmp_path, {"config.json": "{}"})
    (tmp_path / "model.safetensors").symlink_to("gone")
    assert weight_hash(tmp_path) is None
    assert weight_hash(tmp_path / "missing") is None


def test_progress_counts_every_byte_and_may_stop_the_work(tmp_path: Path) -> None:
    write(tmp_path, {"model.bin": "x" * 3_000_000})
    seen: list[int] = []
    entry = digest_file(tmp_path, "model.bin", seen.append)
    assert (sum(seen), len(seen), entry.size_bytes) == (3_000_000, 3, 3_000_000)

    def stop(_: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        digest_file(tmp_path, "model.bin", stop)


def test_combination_takes_raw_digests() -> None:
    digest = hashlib.sha256(b"x").digest()
    assert combine([FileDigest("a", digest, 1)]) == hashlib.sha256(digest).hexdigest()
