"""The picker: what it offers, how it is drawn, and what becomes of a choice that has to be downloaded."""

import json
import sys

import click
import pytest

import provider.service.choose
from provider.cli import picker_choices
from provider.cli.exits import CommandFailed
from provider.cli.picker import pick
from provider.cli.picker_choices import Choice, find_choices
from provider.cli.root import run
from provider.config import load_configuration
from provider.memory.policy import GIB
from provider.models.hub import HubCache
from tests.testbed.model_folder import write_model_folder
from tests.unit.provider.cli.played_manager import Manager, write_model
from tests.unit.provider.cli.served_models import served

ID = "org/tiny-4bit"
NOBODY = "ws://127.0.0.1:1"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A home, an empty cache, and a manager that plays the daemon."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("DARKBLOOM_HOME", str(home))
    monkeypatch.setenv("DARKBLOOM_MODELS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("DARKBLOOM_COORDINATOR_URL", NOBODY)
    monkeypatch.setenv("DARKBLOOM_DEV", "1")
    found = Manager(home)
    monkeypatch.setattr(provider.service.choose, "choose_manager", lambda config_home: found)
    return found


@pytest.fixture
def catalogue(tmp_path, machine, monkeypatch):
    """A coordinator with one model that fits, one that is here, and three that cannot be had."""
    with served() as server:
        manifest = server.publish(write_model_folder(tmp_path / "source"), ID)
        hashes = {"r2_prefix": manifest.r2_prefix, "aggregate_sha256": manifest.aggregate_sha256}
        tiny = {"id": ID, "total_size_bytes": manifest.total_size_bytes, "max_context_length": 32768, **hashes}
        models = [
            tiny,
            {"id": "org/huge", "size_gb": 9000.0, **hashes},
            {"id": "org/unverified", "size_gb": 0.1},
            {"id": "org/retired", "size_gb": 0.1, "active": False, **hashes},
            {"id": "org/here-4bit", "size_gb": 0.1, **hashes},
        ]
        server.documents["v1/models/catalog"] = 200, json.dumps({"models": models, "cdn_url": server.url}).encode()
        write_model(tmp_path / "cache", "org/here-4bit")
        monkeypatch.setenv("DARKBLOOM_COORDINATOR_URL", server.url.replace("http", "ws"))
        yield server


def keys(monkeypatch, *presses):
    waiting = list(presses)
    monkeypatch.setattr(click, "getchar", lambda echo=False: waiting.pop(0))


def choices(*, asks_coordinator=True):
    return find_choices(load_configuration(), physical=64 * GIB, asks_coordinator=asks_coordinator)


def made(name, **changed):
    return Choice(
        **{"model_id": name, "memory_gb": 1.5, "disk_gb": 1.3, "context_tokens": 8192, "is_here": True, **changed}
    )


def test_models_of_this_machine_come_first_then_the_catalogue(catalogue):
    assert [(choice.model_id, choice.is_here) for choice in choices()] == [("org/here-4bit", True), (ID, False)]
    assert [choice.model_id for choice in choices(asks_coordinator=False)] == ["org/here-4bit"]


def test_a_coordinator_that_is_gone_leaves_the_models_of_this_machine(machine, tmp_path, capsys):
    write_model(tmp_path / "cache", "org/here-4bit")
    assert [choice.model_id for choice in choices()] == ["org/here-4bit"]
    assert "Only models on this machine are shown." in capsys.readouterr().err


def test_a_coordinator_that_is_silent_is_waited_for_a_bounded_time(machine, tmp_path, capsys, monkeypatch):
    import socket

    write_model(tmp_path / "cache", "org/here-4bit")
    monkeypatch.setattr(picker_choices, "CATALOGUE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("DARKBLOOM_COORDINATOR_URL", f"ws://127.0.0.1:{silent.getsockname()[1]}")
        assert [choice.model_id for choice in choices()] == ["org/here-4bit"]
    assert "did not answer within 0.2 s" in capsys.readouterr().err


def test_nothing_at_all_is_told_with_the_two_ways_on(machine):
    with pytest.raises(CommandFailed, match="can be served here") as failed:
        choices()
    assert "models download" in failed.value.fix


def test_the_picker_marks_takes_and_adds_up(monkeypatch, capsys):
    offered = [made("org/one"), made("org/two", is_here=False, disk_gb=4.0)]
    keys(monkeypatch, "\r", "j", " ", "k", " ", "\x1b[B", "\x1b[B", " ", "\r")
    assert pick(offered, physical=16 * GIB) == (offered[1],)
    told = capsys.readouterr().out
    assert "8k context" in told
    assert "marked: 3.0 GB of 16.0 GB" in told
    assert [line for line in told.splitlines() if "org/two" in line][-1].endswith("download 4.0 GB")
    assert not any(line.endswith("download 1.3 GB") for line in told.splitlines())


def test_a_small_terminal_shows_the_part_around_the_pointer(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "8")
    offered = [made(f"org/a-very-long-name-of-a-model-number-{number}") for number in range(20)]
    keys(monkeypatch, *["j"] * 7, " ", "\r")
    assert pick(offered, physical=GIB) == (offered[7],)
    lines = [line.replace("\x1b[2K", "") for line in capsys.readouterr().out.splitlines()[1:]]
    assert all(len(line.rpartition("A")[2] if "\x1b[" in line else line) < 60 for line in lines)
    last = lines[-6:]
    assert [line.split("number-")[1].split()[0] for line in last[:5]] == ["3", "4", "5", "6", "7"]
    assert last[4].startswith("> [x] …")
    assert "15 more above and below" in last[5]


def test_a_choice_of_the_catalogue_is_downloaded_and_served(machine, catalogue, tmp_path, monkeypatch, capsys):
    keys(monkeypatch, "j", " ", "\r")
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda prompt="": "")
    assert run(["start"]) == 0
    told = capsys.readouterr().out
    assert f"{ID} is ready" in told
    assert HubCache(tmp_path / "cache").folder(ID).snapshots.is_dir()
    (spec,) = machine.specs
    assert spec.arguments[3:5] == ("--model", ID)
    assert load_configuration().settings.enabled_models == (ID,)
