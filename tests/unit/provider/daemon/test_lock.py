"""One daemon for each state directory."""

import os
import stat
import subprocess
import sys

import pytest

from provider.daemon import LockHeld, take_provider_lock
from provider.daemon.lock import LOCK_FILE_NAME


def test_a_second_start_names_the_first(tmp_path):
    with take_provider_lock(tmp_path):
        with pytest.raises(LockHeld, match=rf"process {os.getpid()} holds") as held:
            take_provider_lock(tmp_path)
        assert held.value.pid == os.getpid()
        assert stat.S_IMODE((tmp_path / LOCK_FILE_NAME).stat().st_mode) == 0o600
    take_provider_lock(tmp_path).release()


def test_a_killed_daemon_leaves_no_lock(tmp_path):
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom provider.daemon import take_provider_lock\n"
        "lock = take_provider_lock(Path(sys.argv[1]))\nos.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert (tmp_path / LOCK_FILE_NAME).read_text()
    take_provider_lock(tmp_path).release()


@pytest.mark.parametrize("note", ["", "garbage", "[]", '{"pid": "x"}'])
def test_an_unreadable_note_still_refuses(tmp_path, note):
    with take_provider_lock(tmp_path):
        (tmp_path / LOCK_FILE_NAME).write_text(note)
        with pytest.raises(LockHeld, match="another process") as held:
            take_provider_lock(tmp_path)
        assert held.value.pid is None


def test_a_refused_start_leaves_the_note_alone(tmp_path):
    with take_provider_lock(tmp_path):
        before = (tmp_path / LOCK_FILE_NAME).read_text()
        with pytest.raises(LockHeld):
            take_provider_lock(tmp_path)
        assert (tmp_path / LOCK_FILE_NAME).read_text() == before


def test_release_may_be_repeated(tmp_path):
    lock = take_provider_lock(tmp_path)
    lock.release()
    lock.release()
