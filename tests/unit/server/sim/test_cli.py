"""The command: what it prints and writes, and how it says that its input is bad."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from server.sim.cli import cli, main
from server.sim.errors import SimulationError
from server.sim.trace import write_trace
from tests.unit.server.sim.small_world import arrivals


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.ndjson"
    write_trace(path, arrivals(60, every_ms=50.0))
    return path


def _run(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)


def test_a_trace_is_replayed_and_reported_as_json(trace: Path) -> None:
    result = _run("--trace", trace, "--seed", 3, "--json")
    (run,) = json.loads(result.stdout)["runs"]
    report = run["report"]
    assert (report["scenario"], report["seed"], report["jobs"], report["served"]) == ("trace", 3, 60, 60)
    assert "decisions" in result.stderr


def test_standard_output_is_the_same_every_time(trace: Path) -> None:
    assert _run("--trace", trace).stdout == _run("--trace", trace).stdout


def test_two_policies_side_by_side_with_files(trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = _run(
        "--trace", trace, "--compare", "queue_before_shed=false", "--compare", "load_factor=0.2", "--out", out
    )
    assert "| figure | policy | queue_before_shed=false load_factor=0.2 | change |" in result.stdout
    assert sorted(path.name for path in out.iterdir()) == [
        "fleet.svg",
        "queue.svg",
        "report.json",
        "report.md",
        "served.svg",
        "ttft.svg",
    ]
    assert (out / "report.md").read_text() == result.stdout
    assert len(json.loads((out / "report.json").read_text())["runs"]) == 2


def test_static_mode_prints_buckets_and_the_cliff(trace: Path) -> None:
    result = _run("--trace", trace, "--static")
    assert "60 served" in result.stdout
    assert "cliff: none" in result.stdout
    assert json.loads(_run("--trace", trace, "--static", "--json").stdout)["counts"]["served"] == 60


def test_the_inputs_of_a_run_can_be_written_and_used_again(trace: Path, tmp_path: Path) -> None:
    fleet, again = tmp_path / "fleet", tmp_path / "again"
    first = _run("--trace", trace, "--write-fleet", fleet, "--write-trace", again, "--json")
    second = _run("--trace", again, "--fleet", fleet, "--json")
    one, two = (json.loads(result.stdout)["runs"][0]["report"] for result in (first, second))
    assert one["digest"] == two["digest"]


def test_scenarios_are_listed_with_what_they_show() -> None:
    lines = _run("--list").stdout.splitlines()
    assert len(lines) == 14
    assert any(line.startswith("cutoff") and "Incident" in line for line in lines)


def test_help_names_every_setting() -> None:
    text = _run("--help").stdout
    for name in ("load_factor", "first_content_base", "attempts"):
        assert name in text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--scenario", "nothing"), "There is no scenario 'nothing'; choose one of: steady"),
        (("--set", "load_factor"), "The setting 'load_factor' has no value; write name=value."),
        (("--set", "nonsense=1"), "There is no setting 'nonsense'"),
        (("--set", "load_factor=fast"), "The setting load_factor='fast' is not usable"),
        (("--trace", "/nowhere/at/all"), "cannot be read"),
    ],
)
def test_bad_input_is_said_in_a_sentence(words: tuple[str, ...], text: str) -> None:
    with pytest.raises(SimulationError) as caught:
        _run(*words)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("words", "code"), [(["--scenario", "nothing"], 2), (["--nonsense"], 64), (["--seed", "-1"], 64)]
)
def test_exit_codes(
    words: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["sim", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == code
    assert capsys.readouterr().err
