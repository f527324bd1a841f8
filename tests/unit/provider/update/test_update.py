"""Updates against a release row and a bundle on loopback: every wrong byte leaves the present version in place."""

import base64
import os
import sys

import pytest
import trio

import provider.update.place
from provider.cli.root import run
from provider.update.auto import AutoUpdate
from provider.update.install import put_in_place, roll_back, stage, take_update_lock
from provider.update.place import find_installation
from provider.update.release import ReleaseRefused
from provider.update.state import UpdateState, read_update_state, write_update_state
from provider.update.verdict import Verdict, compare
from tests.unit.provider.update.release_peer import ENTRY, MARK, latest, make_bundle


def test_no_release_is_no_error(peer):
    assert latest(peer) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": "new"}, "no version"),
        ({"bundle_hash": "ab"}, "no usable hashes"),
        ({"url": "http://example.org/b.tar.gz"}, "https only"),
        ({"url": "ftp://127.0.0.1/b"}, "https only"),
        ({"version": 7}, "not understood"),
    ],
)
def test_a_row_that_cannot_be_trusted_is_refused(peer, change, words):
    peer.release(**change)
    with pytest.raises(ReleaseRefused, match=words):
        latest(peer)


def test_a_refusal_of_the_coordinator_is_told(peer):
    peer.row, peer.status = {"error": {"message": "Come back later."}}, 503
    with pytest.raises(ReleaseRefused, match="Come back later"):
        latest(peer)


@pytest.mark.parametrize(
    ("installed_version", "offered", "verdict"),
    [
        ("0.1.0", "0.1.0", Verdict.CURRENT),
        ("0.1.0+local", "0.1.0", Verdict.CURRENT),
        ("0.6.9", "0.6.10", Verdict.NEWER),
        ("0.7.0-dev.1", "0.7.0", Verdict.NEWER),
        ("0.2.0", "0.1.9", Verdict.OLDER),
        ("0.1.0", "0.3.0", Verdict.QUARANTINED),
        ("0+unknown", "0.1.0", Verdict.NEWER),
    ],
)
def test_versions_are_compared_by_precedence(installed_version, offered, verdict):
    assert compare(installed_version, offered, UpdateState(quarantined=("0.3.0",))) is verdict


def test_a_good_release_is_staged_and_put_in_place_and_can_be_taken_back(peer, installed):
    peer.release()
    seen = []
    stage(latest(peer), installed, keys=(), progress=lambda done, total: seen.append((done, total)))
    assert installed.current == "0.1.0"
    state = put_in_place(latest(peer), installed, UpdateState())
    assert (installed.current, state.trial, state.previous) == ("0.2.0", "0.2.0", "0.1.0")
    entry = installed.base / "current" / ENTRY
    assert entry.read_bytes() == b"#!/bin/sh\necho new\n"
    assert os.access(entry, os.X_OK)
    assert seen[-1] == (len(peer.bundle), len(peer.bundle))
    after = roll_back(installed, state)
    assert (installed.current, after.quarantined, after.trial) == ("0.1.0", ("0.2.0",), "")


def test_the_version_to_go_back_to_outlives_a_second_update_to_the_same_version(peer, installed):
    """As when the command comes first while the daemon waits with the same release."""
    peer.release()
    stage(latest(peer), installed, keys=())
    state = put_in_place(latest(peer), installed, UpdateState()).started("0.2.0")
    assert put_in_place(latest(peer), installed, state) == state
    assert roll_back(installed, state).quarantined == ("0.2.0",)
    assert installed.current == "0.1.0"


def wrong_bundle(peer):
    peer.release()
    peer.bundle = peer.bundle[:-1] + bytes([peer.bundle[-1] ^ 1])


def wrong_entry(peer):
    peer.release(entry=b"something else")


def outside(peer):
    peer.bundle = make_bundle({"../evil": b"x", MARK: b"{}", ENTRY: b"#!/bin/sh\necho new\n"})
    peer.release()


def no_entry(peer):
    peer.bundle = make_bundle({MARK: b"{}"})
    peer.release()


def no_mark(peer):
    peer.bundle = make_bundle({ENTRY: b"#!/bin/sh\necho new\n"})
    peer.release()


def does_not_run(peer):
    peer.bundle = make_bundle({MARK: b"{}", ENTRY: b"#!/bin/sh\nexit 3\n"})
    peer.release(entry=b"#!/bin/sh\nexit 3\n")


def is_no_program(peer):
    peer.bundle = make_bundle({MARK: b"{}", ENTRY: b"\x7fELF nonsense"})
    peer.release(entry=b"\x7fELF nonsense")


def no_archive(peer):
    peer.bundle = b"not a tar"
    peer.release()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (wrong_bundle, "does not have the hash of its release"),
        (wrong_entry, "does not have the hash of its release"),
        (outside, "outside of itself"),
        (no_entry, "holds no bin/darkbloom"),
        (no_mark, "no bundle of this program"),
        (no_archive, "cannot be unpacked"),
        (does_not_run, r"does not run here \(status 3\)"),
        (is_no_program, "does not run here"),
    ],
)
def test_every_wrong_bundle_leaves_the_present_version(peer, installed, tmp_path, spoil, words):
    spoil(peer)
    with pytest.raises(ReleaseRefused, match=words):
        stage(latest(peer), installed, keys=())
    assert installed.current == "0.1.0"
    assert sorted(entry.name for entry in (installed.base / "versions").iterdir()) == ["0.1.0"]
    assert not (tmp_path / "evil").exists()
    assert not (installed.base / "evil").exists()


def test_the_link_never_names_a_version_that_is_not_there(installed):
    with pytest.raises(FileNotFoundError):
        installed.point_to("0.9.0")
    assert installed.current == "0.1.0"


def test_only_one_updates(tmp_path):
    with take_update_lock(tmp_path), pytest.raises(ReleaseRefused, match="Another update"):
        take_update_lock(tmp_path)


def test_a_bundle_knows_itself_and_pip_does_not(installed, tmp_path):
    assert find_installation(installed.folder("0.1.0")).base == installed.base
    assert find_installation(tmp_path) is None


def test_the_third_start_of_a_version_that_did_not_survive_two_is_the_last():
    state = UpdateState().began("0.2.0", "0.1.0")
    assert state.awaits_start
    assert not UpdateState().awaits_start
    verdicts = []
    for _start in range(3):
        state = state.started("0.2.0")
        verdicts.append(state.has_failed)
    assert verdicts == [False, False, True]
    assert not state.awaits_start
    assert state.rolled_back().quarantined == ("0.2.0",)
    assert state.rolled_back().forgiven("0.2.0").quarantined == ()
    assert state.survived("0.2.0").trial == ""
    assert state.survived("0.1.0") == state
    assert state.started("0.1.0") == state
    assert not state.stopped("0.2.0").has_failed
    assert state.stopped("0.1.0") == state


async def at_once(work, *arguments):
    """Instead of a thread: the virtual clock would jump while it works."""
    await trio.lowlevel.checkpoint()
    return work(*arguments)


def updater(peer, installed, tmp_path, restarts, **changes):
    return AutoUpdate(
        **{
            "installation": installed,
            "base_url": peer.url,
            "platform": "linux-x86_64",
            "version": "0.1.0",
            "home": tmp_path,
            "state_file": tmp_path / "update-state.json",
            "jitter": 300.0,
            "keys": (),
            "restart": lambda: restarts.append(trio.current_time()),
            "spread": lambda: 0.5,
            "in_thread": at_once,
            **changes,
        }
    )


async def test_the_daemon_updates_itself_after_its_waits(peer, installed, tmp_path, autojump_clock):
    peer.release()
    restarts = []
    began = trio.current_time()
    await updater(peer, installed, tmp_path, restarts).run()
    assert installed.current == "0.2.0"
    assert restarts[0] - began == 300 + 150
    assert read_update_state(tmp_path / "update-state.json").trial == "0.2.0"


async def test_the_daemon_restarts_into_what_the_command_installed(peer, installed, tmp_path, autojump_clock):
    peer.release()
    stage(latest(peer), installed, keys=())
    path = tmp_path / "update-state.json"
    write_update_state(path, put_in_place(latest(peer), installed, UpdateState()))
    peer.asked.clear()
    restarts = []
    await updater(peer, installed, tmp_path, restarts).run()
    assert len(restarts) == 1
    assert [asked for asked in peer.asked if "bundle" in asked] == []
    assert (installed.current, read_update_state(path).previous) == ("0.2.0", "0.1.0")


async def test_a_failed_look_is_noted_and_repeated(peer, installed, tmp_path, autojump_clock):
    peer.release(binary_hash="0" * 64)
    restarts = []
    with trio.move_on_after(2500):
        await updater(peer, installed, tmp_path, restarts).run()
    assert restarts == []
    assert "does not have the hash" in read_update_state(tmp_path / "update-state.json").error
    assert sum(path.startswith("/v1/releases") for path in peer.asked) == 2


async def test_the_daemon_takes_nothing_unsigned_where_a_key_is_known(peer, installed, tmp_path, autojump_clock):
    peer.release()
    restarts = []
    with trio.move_on_after(1000):
        await updater(peer, installed, tmp_path, restarts, keys=(bytes(32),)).run()
    assert (restarts, installed.current) == ([], "0.1.0")
    assert "carries no signature" in read_update_state(tmp_path / "update-state.json").error


async def test_a_version_that_lives_for_ten_minutes_has_proven_itself(peer, installed, tmp_path, autojump_clock):
    path = tmp_path / "update-state.json"
    write_update_state(path, UpdateState().began("0.2.0", "0.1.0"))
    with trio.move_on_after(700):
        await updater(peer, installed, tmp_path, [], version="0.2.0").run()
    assert read_update_state(path).trial == ""


@pytest.fixture
def command(peer, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DARKBLOOM_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir(mode=0o700)
    monkeypatch.setenv("DARKBLOOM_COORDINATOR_URL", peer.url.replace("http", "ws") + "/ws/provider")

    def go(*arguments):
        code = run(["update", *arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    return go


def test_the_command_without_a_release(command):
    assert command() == (0, "No release is registered.\n", "")


def test_the_command_prints_the_pip_line_where_pip_installed_it(peer, command):
    peer.release("99.0.0")
    code, out, _err = command()
    assert code == 0
    assert "pip install --upgrade 'darkbloom[provider]==99.0.0'" in out


def test_the_command_only_looks_when_asked_to(peer, command):
    peer.release("99.0.0")
    code, out, _err = command("--check-only", "--json")
    assert (code, '"verdict": "newer"' in out) == (0, True)


def test_the_command_never_downgrades_by_itself(peer, command):
    peer.release("0.0.1")
    code, out, _err = command()
    assert (code, "--force goes back" in out) == (0, True)


def test_the_command_installs_a_bundle(peer, command, installed, monkeypatch):
    monkeypatch.setattr(provider.update.place, "find_installation", lambda prefix=None: installed)
    peer.release("99.0.0")
    code, out, _err = command()
    assert (code, out) == (0, "Version 99.0.0 is in place.\n")
    assert installed.current == "99.0.0"


def test_the_command_installs_nothing_unsigned_where_a_key_is_known(peer, command, installed, monkeypatch):
    monkeypatch.setattr(provider.update.place, "find_installation", lambda prefix=None: installed)
    monkeypatch.setenv("DARKBLOOM_UPDATE_KEYS", base64.b64encode(bytes(32)).decode())
    peer.release("99.0.0")
    code, _out, err = command()
    assert (code, "carries no signature" in err) == (1, True)
    assert installed.current == "0.1.0"


def test_the_command_says_why_not(peer, command):
    peer.release(bundle_hash="x")
    code, _out, err = command()
    assert code == 1
    assert "no usable hashes" in err


@pytest.fixture
def banner(command, monkeypatch, capsys):
    """Run `status` as on a terminal, and give what it says on standard error."""

    def go():
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        assert run(["status"]) == 0
        return capsys.readouterr().err

    return go


def test_a_newer_release_is_told_on_a_terminal_and_asked_for_once_a_day(peer, banner):
    peer.release("99.0.0")
    assert "Version 99.0.0 is out; `darkbloom update` installs it." in banner()
    assert "Version 99.0.0" in banner()
    assert len(peer.asked) == 1


def test_no_release_is_told_where_nobody_wants_to_know(peer, banner, monkeypatch):
    peer.release("99.0.0")
    monkeypatch.setenv("DARKBLOOM_NO_UPDATE_CHECK", "1")
    assert banner() == ""
    assert run(["status", "--json"]) == 0
    assert peer.asked == []


def test_a_coordinator_that_does_not_answer_costs_one_try_a_day(banner, monkeypatch, tmp_path):
    monkeypatch.setenv("DARKBLOOM_COORDINATOR_URL", "ws://127.0.0.1:1")
    assert banner() == ""
    assert read_update_state(tmp_path / "home" / "update-state.json").checked_at > 0
