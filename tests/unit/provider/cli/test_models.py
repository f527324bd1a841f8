"""`darkbloom models …` as a person runs it: real cache folders, a real socket, what is printed and the exit code."""

import json

import pytest

from protocol.weight_hash import weight_hash
from provider.cli.models_progress import show_progress
from provider.cli.models_shared import count_text, near_names, size_text
from provider.cli.root import run
from provider.models.hub import HubCache
from provider.models.in_use import SnapshotHold
from tests.testbed.model_folder import write_model_folder
from tests.testbed.model_server import Fault
from tests.unit.provider.cli.served_models import served

ID = "org/tiny-4bit"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("DARKBLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DARKBLOOM_MODELS_CACHE_DIR", str(tmp_path / "hub"))
    return HubCache(tmp_path / "hub")


@pytest.fixture
def server(tmp_path, cache):
    with served() as server:
        manifest = server.publish(write_model_folder(tmp_path / "source"), ID)
        entry = {
            "id": ID,
            "total_size_bytes": manifest.total_size_bytes,
            "r2_prefix": manifest.r2_prefix,
            "aggregate_sha256": manifest.aggregate_sha256,
            "quantization": "4bit",
            "max_context_length": 32768,
        }
        huge = {"id": "org/huge", "size_gb": 9000.0}
        content = {"models": [entry, huge], "cdn_url": server.url}
        server.documents["v1/models/catalog"] = 200, json.dumps(content).encode()
        server.manifest = manifest
        yield server


def said(capsys, *arguments):
    code = run(["models", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_empty_machine(cache, capsys):
    code, out, _err = said(capsys, "list")
    assert code == 0
    assert "No model in" in out
    assert "darkbloom models download ID" in out
    assert said(capsys, "list", "--json")[1:2] == (
        json.dumps({"cache": str(cache.root), "models": []}, indent=2) + "\n",
    )


def test_list_shows_what_is_here_and_why_something_is_not_served(cache, capsys):
    write_model_folder(cache.folder(ID).snapshots / "x")
    write_model_folder(cache.folder("org/broken").snapshots / "x")
    (cache.folder("org/broken").snapshots / "x" / "config.json").write_text("{")
    _code, out, _err = said(capsys, "list")
    assert "org/tiny-4bit" in out
    assert "ready" in out
    assert "broken" not in out
    with SnapshotHold(cache.folder(ID).snapshots / "x"):
        _code, out, _err = said(capsys, "list", "--all")
    assert "loaded" in out
    assert "its config.json is no JSON object" in out
    document = json.loads(said(capsys, "list", "--all", "--json")[1])
    assert [(model["id"], model["state"]) for model in document["models"]] == [
        ("org/broken", "invalid"),
        (ID, "servable"),
    ]
    code, out, _err = said(capsys, "list", "--hash", ID)
    assert (code, out.strip()) == (0, weight_hash(cache.folder(ID).snapshots / "x"))
    code, _out, err = said(capsys, "list", "--hash", "org/tini-4bit")
    assert code == 1
    assert "Did you mean org/tiny-4bit?" in err


def test_catalogue_marks_what_fits_and_what_is_here(server, cache, capsys):
    code, out, _err = said(capsys, "catalog", "--coordinator", server.url)
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines() if line.startswith("org/")}
    assert "✓" in lines[ID]
    assert "32k" in lines[ID]
    assert "✗" in lines["org/huge"]
    document = json.loads(said(capsys, "catalog", "--coordinator", server.url, "--json")[1])
    assert [(model["id"], model["fits"], model["on_this_machine"]) for model in document["models"]] == [
        (ID, True, False),
        ("org/huge", False, False),
    ]


def test_no_coordinator_and_no_answer(cache, capsys):
    code, _out, err = said(capsys, "catalog")
    assert code == 2
    assert "No coordinator is named." in err
    code, _out, err = said(capsys, "catalog", "--coordinator", "http://127.0.0.1:9")
    assert code == 1
    assert "cannot be reached" in err


def test_download_then_verify_then_remove(server, cache, capsys):
    code, out, err = said(capsys, "pull", ID, "--coordinator", server.url)
    assert code == 0, err
    assert out == f"{ID} is ready (250.0 kB fetched, all files verified).\n"
    percents = [int(line.split(": ")[1].split()[0]) for line in err.splitlines()]
    assert percents[-1] == 100
    assert percents == sorted(percents)
    code, out, _err = said(capsys, "download", ID, "--coordinator", server.url)
    assert (code, out) == (0, f"{ID} is here already, and all its files are right.\n")
    code, out, _err = said(capsys, "verify", "--coordinator", server.url)
    assert (code, out) == (0, f"✓ {ID} is the catalogue's\n")
    (cache.folder(ID).current() / "config.json").write_text('{"model_type": "qwen3"}')
    code, out, _err = said(capsys, "verify", ID, "--coordinator", server.url)
    assert code == 1
    assert f"✗ {ID} differs from the catalogue" in out
    code, _out, err = said(capsys, "remove", ID)
    assert code == 1
    assert "Nobody can be asked here." in err
    with SnapshotHold(cache.folder(ID).current()):
        code, _out, err = said(capsys, "remove", ID, "--yes")
        assert code == 1
        assert "is loaded" in err
    code, out, _err = said(capsys, "remove", ID, "--force", "--json")
    assert code == 0
    assert json.loads(out)["freed_bytes"] > 250_000
    assert not cache.folder(ID).path.exists()


def test_download_as_json_lines(server, cache, capsys):
    code, out, _err = said(capsys, "download", ID, "--coordinator", server.url, "--json")
    assert code == 0
    events, _, result = out.partition("{\n")
    assert json.loads("{\n" + result)["fetched_bytes"] == 250_025
    lines = [json.loads(line) for line in events.splitlines()]
    assert lines[0]["event"] == "started"
    assert {line["event"] for line in lines} == {"started", "downloading", "verified"}
    assert lines[-1]["done"] == lines[-1]["total"] == 250_025


def test_download_that_fails_says_why_and_what_to_do(server, cache, capsys):
    code, _out, err = said(capsys, "download", "org/tiny-4bits", "--coordinator", server.url)
    assert code == 1
    assert "The catalogue has no model org/tiny-4bits. Did you mean org/tiny-4bit?" in err
    code, _out, err = said(capsys, "download", "org/huge", "--coordinator", server.url)
    assert code == 1
    assert "no verified manifest" in err
    server.faults = lambda asked: Fault(corrupt=True) if asked.path == "tokenizer.json" else None
    code, _out, err = said(capsys, "download", ID, "--coordinator", server.url)
    assert code == 1
    assert "error: The file tokenizer.json of the download server has the wrong content, twice" in err
    assert "Traceback" not in err


def test_info_tells_template_and_memory(cache, capsys):
    folder = write_model_folder(cache.folder(ID).snapshots / "x")
    (folder / "chat_template.jinja").write_text("{% for %}")
    document = json.loads(said(capsys, "info", ID, "--json")[1])
    assert document["template_render_ok"] is False
    assert document["fits_machine"] is True
    code, out, _err = said(capsys, "info", ID)
    assert code == 0
    assert "broken: the coordinator sends this model no requests" in out
    assert "loads now" in out or "fits this machine" in out


def test_publish_writes_places_and_registers(server, cache, capsys, tmp_path):
    key = tmp_path / "key"
    key.write_text("publishing-secret\n")
    server.documents["v1/admin/models/register"] = 200, b'{"status":"model_registered","model":{}}'
    source, output, root = tmp_path / "source", tmp_path / "manifest.json", tmp_path / "cdn"
    arguments = ["publish", str(source), "--id", ID, "--version", "2", "--created-at", "2026-07-01T00:00:00Z"]
    code, out, err = said(
        capsys, *arguments, "-o", str(output), "--to", str(root), "--register", "--key-file", str(key),
        "--coordinator", server.url, "--json",
    )  # fmt: skip
    assert code == 0, err
    told = json.loads(out)
    assert told["registered"] is True
    assert told["aggregate_sha256"] == server.manifest.aggregate_sha256
    place = root / told["prefix"]
    assert (place / "manifest.json").read_bytes() == output.read_bytes()
    assert weight_hash(place) == weight_hash(source)
    sent = json.loads(server.received[0][1])
    assert (sent["model_id"], sent["version"]) == (ID, "2")
    assert "publishing-secret" not in out + err + output.read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--id", "../x", "--version", "1"], 1, "is no model id"),
        (["--id", "org/x", "--version", "a/b"], 1, "is no version"),
        (["--id", "org/x", "--version", "1", "--created-at", "yesterday"], 64, "is no RFC 3339 time"),
        (["--id", "org/x", "--version", "1", "--register"], 64, "needs --key-file"),
    ],
)
def test_publish_refuses_in_words(cache, capsys, tmp_path, arguments, code, text):
    source = write_model_folder(tmp_path / "model")
    found, _out, err = said(capsys, "publish", str(source), *arguments)
    assert found == code
    assert text in err


def test_publish_of_a_folder_without_a_model(cache, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _out, err = said(capsys, "publish", str(tmp_path / "empty"), "--id", "a", "--version", "1")
    assert code == 1
    assert "holds no model" in err


def test_load_without_a_provider_says_how_to_start_one(cache, capsys):
    for verb in ("load", "unload"):
        code, _out, err = said(capsys, verb, ID)
        assert code == 1
        assert "fix: darkbloom start" in err


def test_bars_are_drawn_on_a_terminal(capsys):
    from provider.catalog.progress import Progress

    with show_progress(ID, as_json=False, is_terminal=True) as listener:
        listener(Progress("started", "", 0, 0, 0, 100))
        listener(Progress("downloading", "model.safetensors", 50, 100, 50, 100))
        listener(Progress("verified", "model.safetensors", 100, 100, 100, 100))
    assert ID in capsys.readouterr().err


def test_words():
    assert [size_text(size) for size in (12, 1500, 2_500_000, 4_700_000_000)] == ["12 B", "1.5 kB", "2.5 MB", "4.7 GB"]
    assert [count_text(number) for number in (0, 512, 4096, 131_072)] == ["–", "512", "4k", "128k"]
    assert (
        near_names("Qwen3-8B", ["mlx-community/Qwen3-8B-4bit", "x/y"]) == " Did you mean mlx-community/Qwen3-8B-4bit?"
    )
    assert near_names("zzz", ["a"]) == ""
