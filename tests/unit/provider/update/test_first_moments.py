"""A version on trial is counted before anything else happens, and left for good at its third start."""

import json
import os
import subprocess
import sys

import pytest

from provider.service.supervise import RestartPolicy
from provider.update.first_moments import count_start, uncount_start
from provider.update.install import put_in_place, stage
from provider.update.mark import MARK
from provider.update.release import fetch_latest
from provider.update.state import UpdateState, read_update_state, write_update_state
from provider.upstream import Upstream


@pytest.fixture
def updated(peer, installed, tmp_path):
    """The state file of an installation that was just updated from 0.1.0 to 0.2.0."""
    peer.release()
    with Upstream(peer.url) as upstream:
        release = fetch_latest(upstream, "linux-x86_64")
    stage(release, installed, keys=())
    path = tmp_path / "update-state.json"
    write_update_state(path, put_in_place(release, installed, UpdateState()))
    return path


def test_a_version_that_keeps_crashing_is_taken_back_within_what_service_managers_allow(updated, installed):
    policy, now = RestartPolicy(), 10_000.0
    assert policy.next_pause(75, now=now, lived=5000.0) is not None  # the old version ends for the new one
    starts = 0
    while True:
        starts += 1
        program = count_start(installed, updated, "0.2.0")
        if program is not None:
            break
        assert policy.next_pause(1, now=now, lived=1.0) is not None, "nobody would start it again"
    assert starts == 3
    assert installed.current == "0.1.0"
    assert program.resolve() == installed.folder("0.1.0").resolve() / "bin" / "darkbloom"
    assert read_update_state(updated).quarantined == ("0.2.0",)
    assert count_start(installed, updated, "0.1.0") is None


def test_ends_in_order_say_nothing_against_a_version(updated, installed):
    for _restart in range(5):
        assert count_start(installed, updated, "0.2.0") is None
        uncount_start(updated, "0.2.0")
    assert (installed.current, read_update_state(updated).trial_starts) == ("0.2.0", 0)


def test_without_the_version_before_the_new_one_goes_on(updated, installed):
    (installed.folder("0.1.0") / MARK).unlink()
    for _start in range(4):
        assert count_start(installed, updated, "0.2.0") is None
    assert installed.current == "0.2.0"


def test_a_version_that_is_not_on_trial_writes_nothing(installed, tmp_path):
    path = tmp_path / "update-state.json"
    assert count_start(installed, path, "0.1.0") is None
    uncount_start(path, "0.1.0")
    assert not path.exists()


def test_the_version_before_gets_the_arguments(tmp_path):
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    program.chmod(0o755)
    code = (
        "import sys; from pathlib import Path; from provider.update.first_moments import become; "
        f"sys.argv = ['x', 'start', '--foreground']; become(Path({str(program)!r}))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=os.getcwd()
    )
    assert json.loads(ran.stdout) == ["start", "--foreground"]
