"""The state file, what its age says, and the lines that are printed from it."""

import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from provider.status.liveness import Life, judge
from provider.status.look import look
from provider.status.pid_file import pid_file, running_pid
from provider.status.process import is_running, process_start
from provider.status.record import (
    Connectivity,
    DaemonState,
    LoadError,
    LocalState,
    ScheduleState,
    SlotState,
    Trust,
)
from provider.status.state_file import read_state, write_state
from provider.status.text import status_lines
from provider.status.watch import picture, spark, watch
from provider.status.words import duration, percent

NOW = 1_800_000_000.0


def state(**changes):
    base = DaemonState(
        pid=os.getpid(),
        process_start=process_start(os.getpid()),
        version="0.1.0",
        written_at=NOW,
        started_at=NOW - 7920,
        refresh_seconds=2.5,
        phase="serving",
    )
    return msgspec.structs.replace(base, **changes)


@pytest.mark.parametrize(
    ("age", "life"),
    [(0, Life.RUNNING), (10, Life.RUNNING), (11, Life.OLD), (90, Life.OLD), (91, Life.STUCK)],
)
def test_the_age_of_the_state_decides(age, life):
    assert judge(state(written_at=NOW - age), now=NOW, is_alive=True) is life


def test_eight_long_periods_count_more_than_ninety_seconds():
    assert judge(state(refresh_seconds=30, written_at=NOW - 200), now=NOW, is_alive=True) is Life.OLD
    assert judge(state(refresh_seconds=30, written_at=NOW - 241), now=NOW, is_alive=True) is Life.STUCK


def test_a_dead_or_stopped_daemon_does_not_run():
    assert judge(state(), now=NOW, is_alive=False) is Life.NOT_RUNNING
    assert judge(state(stopped_at=NOW), now=NOW, is_alive=True) is Life.NOT_RUNNING
    assert judge(None, now=NOW, is_alive=True) is Life.NOT_RUNNING


def test_the_file_is_private_and_complete(tmp_path):
    path = tmp_path / "daemon-state.json"
    write_state(path, state())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_state(path) == state()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 2}', '{"pid": "x"}'])
def test_a_file_that_is_not_understood_is_none(tmp_path, content):
    path = tmp_path / "state.json"
    path.write_text(content)
    assert read_state(path) is None
    assert read_state(tmp_path / "missing") is None


def test_the_documented_keys_are_there():
    keys = set(json.loads(msgspec.json.encode(state())))
    documented = (
        "schema pid process_start version written_at started_at trust current_model warm_models advertised_models "
        "inference_active stats system capacity slots last_model_load_error connectivity schedule identity"
    )
    assert set(documented.split()) <= keys


def test_a_process_is_known_by_its_start():
    mine = os.getpid()
    assert is_running(mine, process_start(mine))
    assert is_running(mine, "")
    assert not is_running(mine, "1")
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert not is_running(done.pid, "")
    assert not is_running(0, "")


def test_the_pid_file_lives_as_long_as_the_block(tmp_path):
    path = tmp_path / "provider.pid"
    with pid_file(path):
        assert running_pid(path) == os.getpid()
        other = json.loads(path.read_text()) | {"process_start": "1"}
        path.write_text(json.dumps(other))
        assert running_pid(path) is None
    assert running_pid(path) is None


FULL = {
    "trust": Trust(level="hardware", status="online"),
    "connectivity": Connectivity(
        coordinator="wss://host/ws/provider", connected=True, registered=True, since=NOW - 7860, reconnect_count=0
    ),
    "slots": (
        SlotState(
            model="qwen3-8b",
            state="running",
            running=2,
            decode_tps=41.5,
            token_budget_used=9,
            token_budget_max=100,
            unloads_at=NOW + 2460,
        ),
    ),
    "advertised_models": ("qwen3-8b", "gemma-3-4b"),
    "idle_unload_minutes": 60.0,
    "schedule": ScheduleState(mode="always", summary="always available"),
    "local": LocalState(base_url="http://127.0.0.1:8000", requests=3),
    "last_model_load_error": LoadError(model="big", message="too big", at=NOW - 60),
}


def test_a_running_daemon_in_lines():
    text = "\n".join(status_lines(state(**FULL), Life.RUNNING, now=NOW, version="0.1.0", config_file="c"))
    for line in (
        "Daemon: running (pid",
        "up 2h12m)",
        "Trust: hardware / online",
        "Connection: wss://host/ws/provider   connected 2h11m, 0 reconnects",
        "Idle policy: unload after 60 min (next: qwen3-8b in 41m00s)",
        "Schedule: always available",
        "qwen3-8b   running   2 running 0 waiting   41.5 tok/s   9 % of token budget",
        "Not loaded (reloads on demand): gemma-3-4b",
        "Local server: http://127.0.0.1:8000   3 requests",
        "Last model-load error: big: too big (1m00s ago)",
    ):
        assert line in text
    assert "stale" not in text


def test_a_refused_token_is_shown_with_its_remedy():
    def lines(account):
        trust = Trust(level="self_signed", status="online", account=account)
        return status_lines(state(trust=trust), Life.RUNNING, now=NOW, version="0.1.0", config_file="c")

    shown = lines("token_refused")
    at = next(number for number, line in enumerate(shown) if line.startswith("Account: the coordinator refused"))
    assert shown[at + 1] == "  fix: darkbloom logout; darkbloom login"
    assert not any(line.startswith("Account") for line in lines("linked"))


def test_an_old_snapshot_marks_its_live_figures():
    lines = status_lines(state(**FULL), Life.OLD, now=NOW + 40, version="0.1.0", config_file="c")
    assert any(line.startswith("Daemon: running") and "snapshot is 40s old" in line for line in lines)
    assert any(line.startswith("Trust:") and "[stale: 40s old]" in line for line in lines)
    assert any(line.startswith("Requests served") and "stale" in line for line in lines)


def test_a_daemon_that_writes_no_more_may_be_stuck():
    lines = status_lines(state(), Life.STUCK, now=NOW + 100, version="0.1.0", config_file="c")
    assert any("running but not updating for 1m40s, may be stuck" in line for line in lines)


def test_a_daemon_that_died_and_one_that_stopped_are_told_apart():
    died = status_lines(state(), Life.NOT_RUNNING, now=NOW + 5, version="0.1.0", config_file="c")
    assert any("it ended without a stop" in line for line in died)
    stopped = state(stopped_at=NOW)
    lines = status_lines(stopped, Life.NOT_RUNNING, now=NOW + 5, version="0.1.0", config_file="c")
    assert "Daemon: not running (stopped 5s ago)" in lines
    assert "  fix: darkbloom start" in lines


def test_without_a_state_there_is_a_remedy():
    lines = status_lines(None, Life.NOT_RUNNING, now=NOW, version="0.1.0", config_file="c")
    assert lines[-1] == "  fix: darkbloom start"


def test_json_of_a_look(tmp_path):
    path = tmp_path / "state.json"
    write_state(path, state(**FULL))
    found = look(path, now=NOW + 1).as_json(version="0.1.0", config_file="c")
    assert (found["daemon"], found["running"], found["fresh"], found["age_seconds"]) == ("running", True, True, 1.0)
    assert found["state"]["slots"][0]["model"] == "qwen3-8b"
    json.dumps(found)


def test_the_live_view_shows_requests_speed_and_memory(tmp_path):
    path = tmp_path / "state.json"
    write_state(path, state(**FULL))
    console = Console(width=120, record=True, force_terminal=False, file=io.StringIO())
    watch(lambda: look(path, now=NOW + 1), version="0.1.0", console=console, rounds=1)
    console.print(picture(look(path, now=NOW + 1), (1.0, 2.0), version="0.1.0"))
    text = console.export_text()
    for words in ("requests", "in flight", "tok/s", "memory", "weights", "qwen3-8b", "not loaded", "Ctrl-C"):
        assert words in text


def test_the_live_view_of_nothing():
    console = Console(width=80, record=True, file=io.StringIO())
    watch(lambda: look(Path("/nonexistent/state.json")), version="0", console=console, rounds=1)
    text = console.export_text()
    assert "No provider has run here yet." in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (45, "45s"), (125, "2m05s"), (7860, "2h11m"), (273600, "3d04h"), (-3, "0s")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_percent_and_bars():
    assert percent(9, 100) == "9 %"
    assert percent(1, 0) == "-"
    assert spark([0, 0]) == "▁▁"
    assert spark([0, 4, 8]) == "▁▅█"
