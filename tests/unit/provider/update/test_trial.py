"""A staged program is tried by a helper, because a running provider may start none itself."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from provider.config import Places, load_settings
from provider.daemon.updating import updates_of
from provider.link import parse_address
from provider.update.install import stage
from provider.update.release import ReleaseRefused
from provider.update.trial import RUNS, TrialHelper, try_here
from tests.unit.provider.update.release_peer import ENTRY, latest

ROOT = Path(__file__).parents[4]


@pytest.fixture
def helper(installed):
    helper = TrialHelper(installed.staging / ENTRY)
    yield helper
    helper.close()


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('#!/bin/sh\ntest "$1" = runtime-smoke\n', RUNS),
        ("#!/bin/sh\nexit 3\n", "status 3"),
        ("no program", "OSError"),
    ],
)
def test_here_and_by_the_helper_the_same_is_found(installed, helper, text, found):
    entry = program(installed.staging / ENTRY, text)
    assert [try_here(entry), helper.try_out(entry), helper.try_out(entry)] == [found] * 3


def test_the_helper_starts_nothing_but_staged_programs(tmp_path, helper):
    entry = program(tmp_path / "other", f"#!/bin/sh\ntouch {tmp_path}/was-here\n")
    assert helper.try_out(entry) == "it does not lie where releases are staged"
    assert not (tmp_path / "was-here").exists()


def test_a_helper_that_has_ended_is_no_permission(peer, installed, helper):
    helper.close()
    peer.release()
    with pytest.raises(ReleaseRefused, match="its helper has ended"):
        stage(latest(peer), installed, keys=(), try_out=helper.try_out)


@pytest.fixture
def service(installed, monkeypatch, tmp_path):
    """The parts of a daemon that runs as a service, from a bundle, with the given environment."""
    monkeypatch.setattr("provider.daemon.updating.find_installation", lambda: installed)
    return lambda environment: SimpleNamespace(
        settings=load_settings(environment).settings,
        address=parse_address("ws://127.0.0.1:9", allow_insecure=False),
        options=SimpleNamespace(is_service=True),
        facts=SimpleNamespace(platform="linux-x86_64", version="0.1.0"),
        places=Places(tmp_path),
    )


@pytest.mark.parametrize("name", ["DARKBLOOM_AUTO_UPDATE", "DARKBLOOM_AUTO_RESTART"])
def test_a_service_that_nothing_starts_again_installs_nothing_unasked(service, name):
    assert updates_of(service({name: "off"}), lambda: None) is None


def test_the_daemons_updater_has_releases_tried_by_a_helper(service, installed):
    updates = updates_of(service({}), lambda: None)
    helper = updates.try_out.__self__
    try:
        entry = program(installed.staging / ENTRY, '#!/bin/sh\necho $PPID >"$0.parent"\n')
        assert updates.try_out(entry) == RUNS
        assert int(entry.with_name("darkbloom.parent").read_text()) == helper._child.pid
    finally:
        helper.close()


CONFINED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from provider.hardening.confine import confine
from provider.update.install import stage
from provider.update.place import Installation
from provider.update.release import ReleaseRefused, fetch_latest
from provider.update.trial import TrialHelper
from provider.upstream import Upstream
installation = Installation(Path(sys.argv[2]))
helper = TrialHelper(installation.staging / "bin" / "darkbloom")
assert confine(refuse_programs=True).runtime_locked
with Upstream(sys.argv[3]) as upstream:
    release = fetch_latest(upstream, "linux-x86_64")
try:
    stage(release, installation, keys=())
except ReleaseRefused as refused:
    print(refused)
stage(release, installation, keys=(), try_out=helper.try_out)
"""


def test_a_confined_process_stages_releases_all_the_same(peer, installed):
    """As a running daemon does, which has given up starting programs before it looks for releases."""
    peer.release()
    done = subprocess.run(
        [sys.executable, "-I", "-c", CONFINED, str(ROOT), str(installed.base), peer.url],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "does not run here (RuntimeLocked)" in done.stdout
    assert sorted(folder.name for folder in (installed.base / "versions").iterdir()) == ["0.1.0", "0.2.0"]
