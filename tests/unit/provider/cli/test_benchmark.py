"""`darkbloom benchmark`: what it refuses, what it prints and what it keeps."""

import json

import pytest

from provider.benchmark import saved_speeds
from provider.cli.root import run
from provider.daemon.lock import take_provider_lock
from tests.testbed.needs import module
from tests.testbed.tiny_model import build_tiny_model

QUICK = ["--iterations", "1", "--prefill-lengths", "16", "--batch-sizes", "1,2", "--decode-tokens", "6"]


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("DARKBLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DARKBLOOM_MODELS_DIRECTORY", str(tmp_path / "cache"))
    monkeypatch.setenv("DARKBLOOM_MEMORY_RESERVE_GB", "0")
    return tmp_path / "home"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    module("mlx.core")
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def test_the_modes_exclude_each_other(home, capsys):
    assert run(["benchmark", "--sweep", "--arrival"]) == 64
    assert "Choose one of --sweep, --prompt and --arrival." in capsys.readouterr().err


@pytest.mark.parametrize("sizes", ["0", "1,,2", "25", "many"])
def test_bad_batch_sizes_are_named(home, capsys, sizes):
    assert run(["benchmark", "--batch-sizes", sizes]) == 64
    assert "is not a number from 1 to 24" in capsys.readouterr().err


def test_a_running_provider_is_not_disturbed(home, tiny, capsys):
    with take_provider_lock(home):
        assert run(["benchmark", "--model", str(tiny), *QUICK]) == 1
        shown = capsys.readouterr().err
        assert "The provider is running" in shown
        assert "--force" in shown
        assert run(["benchmark", "--model", str(tiny), *QUICK, "--force"]) == 0


def test_a_machine_without_models_is_told_what_to_do(home, capsys):
    module("mlx.core")
    assert run(["benchmark"]) == 1
    assert "darkbloom benchmark --model demo" in capsys.readouterr().err
    assert run(["benchmark", "--model", "nobody/nothing"]) == 1
    assert "nobody/nothing" in capsys.readouterr().err


def test_the_table_and_the_file_and_what_is_kept(home, tiny, tmp_path, capsys):
    file = tmp_path / "report.json"
    assert run(["benchmark", "--model", str(tiny), *QUICK, "-o", str(file), "--save"]) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0].startswith("tiny")
    assert lines[1].startswith("prefill   16 tok: ")
    assert "batch 2: " in lines[2]
    assert lines[3] == "parity    greedy text is the same in every batch"
    written = json.loads(file.read_text())
    assert written["parity"] is True
    kept = saved_speeds(home, ["tiny"])
    assert (kept.prefill_tps, kept.decode_tps) == (written["prefill_tps"], written["decode_tps"])
    assert "Saved" in shown.err


def test_json_is_one_document(home, tiny, capsys):
    assert run(["benchmark", "--model", str(tiny), "--prompt", "hello", "--max-tokens", "4", *QUICK, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["facts"]["model"] == "tiny"
    assert document["prefill"][0]["ttft_ms"]["median"] > 0


def test_a_prompt_that_is_too_long_is_one_sentence(home, tiny, capsys):
    assert run(["benchmark", "--model", str(tiny), "--prompt", "a b " * 4000, *QUICK]) == 1
    shown = capsys.readouterr().err
    assert "the model's limit is 4096" in shown
    assert "Traceback" not in shown
