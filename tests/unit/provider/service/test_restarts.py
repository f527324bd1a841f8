"""When a provider is started again: the policy, the parent process, and the macOS watchdog."""

import signal
import subprocess
import sys
import time

import pytest

from provider.service.notify import Notifier
from provider.service.supervise import RestartPolicy
from provider.service.watchdog import WatchdogNotes, decide
from provider.service.watchdog_file import read_notes, write_notes


@pytest.mark.parametrize("status", [0, 2, 64])
def test_statuses_that_a_new_start_would_not_change_are_final(status):
    assert RestartPolicy().next_pause(status, now=0, lived=1) is None


def test_pauses_double_and_three_crashes_in_fifteen_minutes_end_it():
    policy = RestartPolicy()
    assert [policy.next_pause(1, now=now, lived=1) for now in (0, 20, 60, 100)] == [10, 20, 40, None]


def test_crashes_far_apart_are_forgiven():
    policy = RestartPolicy()
    assert [policy.next_pause(1, now=now, lived=1000) for now in (0, 1000, 2000, 3000, 4000)] == [10] * 5


def test_pauses_end_at_five_minutes():
    policy = RestartPolicy()
    pauses = [policy.next_pause(70, now=now, lived=1) for now in range(0, 6000, 600)]
    assert pauses[-1] == 300
    assert None not in pauses


PARENT = """
import sys
from provider.service.supervise import supervise
sys.exit(supervise(sys.argv[1:], restart=True, first_pause=0.01))
"""


def parent(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True
    )


def test_the_parent_starts_a_crashed_child_again_until_it_gives_up(tmp_path):
    runs = tmp_path / "runs"
    code = "import sys; open(sys.argv[1], 'a').write('x'); sys.exit(9)"
    with parent(code, str(runs)) as process:
        told = process.communicate(timeout=30)[1]
    assert (process.returncode, runs.read_text()) == (9, "xxxx")
    assert told.count("starts again") == 3
    assert "ended for good" in told


def test_a_signal_to_the_parent_reaches_the_child_and_ends_the_watch(tmp_path):
    ready = tmp_path / "ready"
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "open(sys.argv[1], 'w').write('x')\n"
        "time.sleep(60)"
    )
    with parent(code, str(ready)) as process:
        deadline = time.monotonic() + 20
        while not ready.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 7


LOADED = {"is_loaded": True, "boot": "b1"}


def test_the_watchdog_waits_five_minutes_and_restarts_three_times():
    notes, acts = WatchdogNotes(), []
    for minute in range(40):
        act, notes = decide(notes, **LOADED, is_running=False, now=minute * 60.0)
        acts.append(act)
    restarts = [minute for minute, act in enumerate(acts) if act == "restart"]
    assert len(restarts) == 3
    assert restarts[0] == 5
    assert acts[-1] == "give_up"


def test_an_ordered_start_waits_for_the_next_look_only_and_is_counted():
    """A version that cannot even count its start must not be started for ever."""
    notes, acts = WatchdogNotes(), []
    for minute in range(6):
        act, notes = decide(notes, **LOADED, is_running=False, awaits_start=True, now=minute * 60.0)
        acts.append(act)
    assert acts == ["restart"] * 3 + ["give_up"] * 3


def test_a_job_that_the_user_stopped_stays_stopped():
    notes = WatchdogNotes(boot="b1", down_since=0.0)
    act, after = decide(notes, is_loaded=False, is_running=False, boot="b1", now=9999)
    assert (act, after.down_since) == ("nothing", None)


def test_notes_from_before_a_boot_mean_nothing():
    notes = WatchdogNotes(boot="b0", down_since=0.0, restarts=3)
    act, after = decide(notes, **LOADED, is_running=False, now=1000)
    assert (act, after.down_since, after.restarts) == ("nothing", 1000, 0)


def test_a_long_run_clears_the_count():
    notes = WatchdogNotes(boot="b1", restarts=3, last_restart=100.0)
    _act, soon = decide(notes, **LOADED, is_running=True, now=200)
    _act, later = decide(notes, **LOADED, is_running=True, now=100 + 3601)
    assert (soon.restarts, later.restarts) == (3, 0)


def test_notes_are_kept_in_a_file(tmp_path):
    path = tmp_path / "watchdog-state.json"
    assert read_notes(path) == WatchdogNotes()
    write_notes(path, WatchdogNotes(boot="b", restarts=2))
    assert read_notes(path).restarts == 2


def test_systemd_is_told(tmp_path):
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "s"))
        line.settimeout(5)
        notifier = Notifier(str(tmp_path / "s"))
        notifier.ready()
        notifier.alive()
        notifier.stopping()
        assert [line.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]
    notifier.alive()
    Notifier("").ready()
