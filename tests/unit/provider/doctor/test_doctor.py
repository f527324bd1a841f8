"""The doctor: each trouble gives its one line and the exit code; nothing is changed; nothing hangs."""

import json
import os
import threading
import time

import msgspec
import pytest

from provider.account.token_file import MachineToken, TokenFile
from provider.cli.root import run
from provider.doctor import Level, run_checks
from provider.doctor.configuration import fit, integrity
from provider.doctor.daemon import connected, daemon, local_endpoint, recent_trouble, stepping
from provider.doctor.finding import passed
from provider.doctor.machine import memory
from provider.memory.policy import GIB, PolicySettings
from provider.models.facts import ModelFacts
from provider.models.hash_cache import FILE_NAME, HashCache, fingerprint
from provider.status.liveness import Life
from provider.status.process import process_start
from provider.status.record import (
    Connectivity,
    DaemonState,
    LoadError,
    LocalState,
    ScheduleState,
    SlotState,
    Totals,
    Trust,
)
from provider.status.state_file import write_state
from tests.unit.provider.cli.http_peer import http_peer

NOW = 1_800_000_000.0


def state(**changes):
    base = DaemonState(
        pid=os.getpid(),
        process_start=process_start(os.getpid()),
        version="0.1.0",
        written_at=NOW,
        started_at=NOW - 60,
        refresh_seconds=2.5,
        phase="serving",
    )
    return msgspec.structs.replace(base, **changes)


def found(findings):
    return {finding.name: (finding.level, finding.detail, finding.fix) for finding in findings}


def test_a_probe_that_hangs_or_crashes_is_a_warning_and_the_others_go_on():
    release = threading.Event()

    def crashing():
        raise ValueError("CANARY")

    probes = [
        ("s", "hangs", lambda: release.wait(60) or []),
        ("s", "crashes", crashing),
        ("s", "works", lambda: [passed("s", "works", "fine")]),
    ]
    began = time.monotonic()
    results = list(run_checks(probes, seconds=0.2))
    release.set()
    assert time.monotonic() - began < 10
    assert [(result.name, result.level) for result in results] == [
        ("hangs", Level.WARN),
        ("crashes", Level.WARN),
        ("works", Level.PASS),
    ]
    assert "no answer within 0.2 s" in results[0].detail
    assert "CANARY" not in results[1].detail


@pytest.mark.parametrize(
    ("life", "name", "level"),
    [
        (Life.RUNNING, "daemon state freshness", Level.PASS),
        (Life.OLD, "daemon state freshness", Level.WARN),
        (Life.STUCK, "daemon state freshness", Level.FAIL),
        (Life.NOT_RUNNING, "daemon", Level.WARN),
    ],
)
def test_the_age_of_the_state(life, name, level):
    assert found(daemon(state(), life, now=NOW))[name][0] is level


LINKED = Connectivity(coordinator="wss://host/ws/provider", connected=True, registered=True, since=NOW - 60)


@pytest.mark.parametrize(
    ("changes", "name", "level", "words"),
    [
        ({}, "daemon connected", Level.PASS, "local mode"),
        ({"connectivity": LINKED}, "coordinator trust", Level.WARN, "has not said"),
        (
            {"connectivity": LINKED, "trust": Trust(level="self_signed", status="online")},
            "coordinator trust",
            Level.PASS,
            "self_signed / online",
        ),
        (
            {"connectivity": LINKED, "trust": Trust(level="none", status="untrusted", reason="stale blob")},
            "coordinator trust",
            Level.FAIL,
            "(stale blob)",
        ),
        (
            {"connectivity": LINKED, "trust": Trust(level="self_signed", status="online", account="token_refused")},
            "daemon account",
            Level.FAIL,
            "refused",
        ),
        (
            {"connectivity": Connectivity(coordinator="wss://h", last_error="http_502", since=NOW - 600)},
            "daemon connected",
            Level.FAIL,
            "not connected to wss://h for 10m00s (http_502)",
        ),
        (
            {"connectivity": Connectivity(coordinator="wss://h"), "schedule": ScheduleState(mode="scheduled-off")},
            "daemon connected",
            Level.PASS,
            "on purpose",
        ),
    ],
)
def test_the_link_and_what_the_coordinator_thinks(changes, name, level, words):
    told = found(connected(state(**changes), now=NOW))[name]
    assert told[0] is level
    assert words in told[1]


def test_an_engine_that_stands_still():
    busy = SlotState(model="m", state="running", running=1, seconds_since_last_step=31.0)
    assert found(stepping(state(slots=(busy,))))["engine stepping"][0] is Level.FAIL
    assert found(stepping(state(engine_health="crashed")))["engine stepping"][0] is Level.FAIL
    calm = SlotState(model="m", state="idle", running=0, seconds_since_last_step=900.0)
    assert found(stepping(state(slots=(calm,))))["engine stepping"][0] is Level.PASS


def test_recent_trouble():
    error = LoadError(model="m", message="too big", at=NOW - 60)
    told = found(
        recent_trouble(
            state(last_model_load_error=error, previous_crash_at=NOW - 3600, stats=Totals(usage_gaps=2)), now=NOW
        )
    )
    assert [told[name][0] for name in ("recent model load", "recent crash", "usage reporting")] == [Level.WARN] * 3
    assert "m: too big (1m00s ago)" in told["recent model load"][1]
    old = found(recent_trouble(state(last_model_load_error=error, previous_crash_at=NOW), now=NOW + 90000))
    assert {entry[0] for entry in old.values()} == {Level.PASS}


def test_a_local_server_that_is_recorded_and_dead():
    wants = state(local=LocalState(base_url="http://127.0.0.1:8000"))
    assert found(local_endpoint(wants, Life.RUNNING, None))["local endpoint"][0] is Level.FAIL
    assert list(local_endpoint(state(), Life.RUNNING, None)) == []
    assert list(local_endpoint(wants, Life.NOT_RUNNING, None)) == []


def test_memory_and_fit_show_their_arithmetic(tmp_path):
    assert found(memory(64 * GIB, PolicySettings(), dev=False))["memory"][0] is Level.PASS
    assert found(memory(4 * GIB, PolicySettings(), dev=False))["memory"][0] is Level.FAIL
    facts = ModelFacts(model_id="m", directory=tmp_path, disk_bytes=20 * GIB)

    class Configuration:
        class settings:  # noqa: N801
            @staticmethod
            def memory_policy():
                return PolicySettings()

    fits = found(fit([facts], 64 * GIB, Configuration))["model fit"]
    assert (fits[0], "weights 24.0 GB + headroom 4.0 GB = 28.0 GB of 64.0 GB" in fits[1]) == (Level.PASS, True)
    assert found(fit([facts], 16 * GIB, Configuration))["model fit"][0] is Level.FAIL


def test_a_hash_that_differs_from_the_catalogue(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"x")
    HashCache(tmp_path / FILE_NAME).put(folder, fingerprint(folder), "ab" * 32)
    facts = ModelFacts(model_id="m", directory=folder, disk_bytes=1)

    class Configuration:
        class settings:  # noqa: N801
            state_directory = tmp_path

    assert found(integrity([facts], {"m": "cd" * 32}, Configuration))["weight integrity"][0] is Level.FAIL
    assert found(integrity([facts], {"m": "ab" * 32}, Configuration))["weight integrity"][0] is Level.PASS
    assert list(integrity([facts], {}, Configuration)) == []


@pytest.fixture
def home(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("DARKBLOOM_HOME", str(home))
    monkeypatch.setenv("DARKBLOOM_DEV", "1")
    monkeypatch.setenv("DARKBLOOM_MODELS_CACHE_DIR", str(tmp_path / "models"))
    return home


@pytest.fixture
def checks(capsys, home):
    """Run `doctor --json`; gives the checks that do not pass, by name, and the exit code."""

    def go(*more):
        code = run(["doctor", "--json", *more])
        content = json.loads(capsys.readouterr().out)
        return code, {check["name"]: check for check in content["checks"] if check["level"] != "pass"}

    return go


ALWAYS = {"device", "config", "account link", "model cache", "daemon", "coordinator health", "competing inference"}


def test_a_broken_line_of_the_file(checks, tmp_path):
    file = tmp_path / "xdg-config" / "darkbloom" / "provider.toml"
    file.parent.mkdir(parents=True)
    file.write_text("[backend]\nmax_model_slots = 'x'\n")
    code, told = checks()
    assert code == 1
    assert told["config"]["level"] == "fail"
    assert f"{file}:2: backend.max_model_slots must be" in told["config"]["detail"]
    assert set(told) <= {"config", "device"}


def test_a_coordinator_that_is_not_there(checks, monkeypatch):
    monkeypatch.setenv("DARKBLOOM_COORDINATOR_URL", "ws://127.0.0.1:1")
    code, told = checks()
    assert (code, told["coordinator health"]["level"]) == (1, "fail")
    assert [name for name, check in told.items() if check["level"] == "fail"] == ["coordinator health"]
    assert set(told) <= ALWAYS


def test_a_missing_token_is_a_warning_and_strict_makes_it_an_end(checks):
    code, told = checks()
    assert (code, told["account link"]["level"], told["account link"]["fix"]) == (0, "warn", "darkbloom login")
    assert checks("--strict")[0] == 1


def test_a_state_that_nobody_writes_any_more(checks, home):
    write_state(home / "daemon-state.json", state(written_at=time.time() - 200))
    code, told = checks()
    assert (code, told["daemon state freshness"]["level"]) == (1, "fail")
    assert [name for name, check in told.items() if check["level"] == "fail"] == ["daemon state freshness"]


def test_a_daemon_that_died_is_a_recent_crash(checks, home):
    write_state(home / "daemon-state.json", state(pid=2**22 - 1, process_start="1", written_at=time.time() - 20))
    code, told = checks()
    assert (code, told["recent crash"]["level"], told["daemon"]["level"]) == (0, "warn", "warn")


def test_what_the_coordinator_says(checks, home, monkeypatch):
    with http_peer() as peer:
        monkeypatch.setenv("DARKBLOOM_COORDINATOR_URL", peer.url.replace("http:", "ws:") + "/ws/provider")
        TokenFile(home).write(MachineToken("t", peer.url))
        row = {"version": "99.0.0", "url": "https://x/y", "bundle_hash": "ab" * 32, "binary_hash": "ab" * 32}
        peer.replies = {
            "GET /health": [(200, {"status": "ok"})],
            "GET /v1/provider/account-earnings": [(401, {})],
            "GET /v1/releases/latest": [(200, row)],
        }
        code, told = checks()
        assert (code, told["account link"]["level"], told["up to date"]["level"]) == (1, "fail", "warn")
        assert "coordinator health" not in told
        peer.replies["GET /v1/releases/latest"] = [(404, {})]
        peer.replies["GET /v1/provider/account-earnings"] = [(200, {"account_id": "a"})]
        code, told = checks()
        assert code == 0
        assert not {"account link", "up to date"} & set(told)


def test_support_tells_no_secret(home, capsys):
    TokenFile(home).write(MachineToken("very-secret-token", "https://h"))
    assert run(["doctor", "--support"]) == 0
    told = capsys.readouterr().out
    assert "has_token: True" in told
    assert "very-secret-token" not in told
    assert "[WARN]" in told
    assert "passed," in told


def test_nothing_is_changed(home, capsys):
    before = sorted(path.name for path in home.iterdir())
    run(["verify"])
    capsys.readouterr()
    assert sorted(path.name for path in home.iterdir()) == before
