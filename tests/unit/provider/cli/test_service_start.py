"""Starting the background service: what is asked, refused, written down and waited for; the manager is played."""

import os
import sys

import click
import pytest

import provider.memory.system
import provider.service.choose
from provider.cli.root import run
from provider.config import load_configuration
from provider.memory.policy import GIB
from provider.service.spec import read_record
from tests.unit.provider.cli.played_manager import Manager, write_model

NOBODY = "ws://127.0.0.1:1"
"""A port that refuses every connection."""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DARKBLOOM_MODELS_CACHE_DIR", str(tmp_path / "cache"))
    write_model(tmp_path / "cache", "org/one-4bit")
    write_model(tmp_path / "cache", "org/two-4bit", b"more weights")
    write_model(tmp_path / "cache", "org/strange-4bit", model_type="martian")
    return tmp_path / "cache"


@pytest.fixture
def manager(tmp_path, monkeypatch, cache):
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("DARKBLOOM_HOME", str(home))
    monkeypatch.setenv("DARKBLOOM_COORDINATOR_URL", NOBODY)
    monkeypatch.setenv("DARKBLOOM_DEV", "1")
    found = Manager(home)
    monkeypatch.setattr(provider.service.choose, "choose_manager", lambda config_home: found)
    return found


def test_a_chosen_model_is_remembered_and_the_service_started_with_it(manager, capsys):
    assert run(["start", "--model", "org/one-4bit", "--max-concurrent", "4", "--local-endpoint", "--port", "8123"]) == 0
    told = capsys.readouterr().out
    assert "The provider runs (pid" in told
    assert "A hint." in told
    (spec,) = manager.specs
    assert spec.arguments == (
        *("start", "--foreground", "--as-service", "--model", "org/one-4bit"),
        *("--max-concurrent", "4", "--port", "8123", "--local-endpoint"),
    )
    assert spec.environment["DARKBLOOM_HOME"] == str(manager.home)
    assert spec.environment["DARKBLOOM_LOG_FILE"] == str(manager.home / "provider.log")
    assert "PYTHONPATH" not in spec.environment
    assert load_configuration().settings.enabled_models == ("org/one-4bit",)
    assert read_record(manager.home / "service.json").arguments == spec.arguments


def test_folders_are_passed_on_absolute_and_not_remembered(manager, cache, monkeypatch):
    folder = cache / "models--org--one-4bit" / "snapshots" / "one"
    monkeypatch.chdir(folder.parent)
    assert run(["start", "--model", "mine=./one", "--model", "demo"]) == 0
    assert manager.specs[0].arguments[3:] == ("--model", f"mine={folder}", "--model", "demo")
    assert not load_configuration().file.exists


def test_all_models_that_can_be_served(manager):
    assert run(["start", "--all"]) == 0
    assert "--all" in manager.specs[0].arguments


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("start --model org/one", 1, "Did you mean org/one-4bit"),
        ("start --model org/strange-4bit", 1, "does not know its architecture (martian)"),
        ("start", 1, "fix: darkbloom start --model ID"),
        ("start --model demo --coordinator ws://10.0.0.1", 2, "unencrypted"),
        ("start --model demo --port 99999", 64, "not in the range"),
    ],
)
def test_what_is_refused_installs_nothing(manager, capsys, line, code, words):
    assert run(line.split()) == code
    assert words in capsys.readouterr().err
    assert manager.specs == []
    assert not (manager.home / "service.json").exists()


def test_without_a_coordinator_the_two_ways_on_are_named(manager, capsys, monkeypatch):
    monkeypatch.delenv("DARKBLOOM_COORDINATOR_URL")
    assert run(["start", "--model", "demo"]) == 2
    assert "--coordinator wss://HOST (or --local without one)" in capsys.readouterr().err
    assert run(["start", "--model", "demo", "--local"]) == 0
    assert "--local" in manager.specs[0].arguments


def test_a_machine_that_is_too_small_is_told_both_figures(manager, capsys, monkeypatch, cache):
    class Small:
        def physical(self):
            return 4 * GIB

    monkeypatch.delenv("DARKBLOOM_DEV")
    monkeypatch.setattr(provider.memory.system, "open_system_memory", Small)
    os.truncate(write_model(cache, "org/large-4bit") / "model.safetensors", 200_000_000)
    assert run(["start", "--model", "org/large-4bit"]) == 1
    assert "has 4.0 GB of memory; 8 GB are needed" in capsys.readouterr().err
    assert run(["start", "--model", "org/one-4bit"]) == 0


def test_a_start_that_fails_shows_what_the_process_said(manager, capsys):
    manager.comes_up = False
    assert run(["start", "--model", "demo", "--timeout", "1"]) == 1
    told = capsys.readouterr().err
    assert "did not get ready within 1 s" in told
    assert "error: the port is taken" in told
    assert "fix: darkbloom logs" in told


def test_a_daemon_that_is_not_registered_in_time_is_told_apart(manager, capsys):
    manager.registers = False
    assert run(["start", "--model", "demo", "--timeout", "1"]) == 1
    assert "It runs and is not registered with the coordinator yet." in capsys.readouterr().err


def test_a_running_provider_is_not_started_again(manager, capsys):
    assert run(["start", "--model", "demo"]) == 0
    assert run(["start", "--model", "demo"]) == 1
    assert f"A provider runs already (pid {os.getpid()})." in capsys.readouterr().err


def keys(monkeypatch, *presses):
    waiting = list(presses)
    monkeypatch.setattr(click, "getchar", lambda echo=False: waiting.pop(0))


@pytest.mark.parametrize("key", ["q", "\x03"])
def test_leaving_the_picker_changes_nothing(manager, monkeypatch, capsys, key):
    keys(monkeypatch, " ", key)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert run(["start"]) == 130
    assert "nothing has changed" in capsys.readouterr().err
    assert manager.specs == []
    assert not load_configuration().file.exists


@pytest.mark.parametrize(("answer", "minutes"), [("", 60), ("k", 0), ("15", 15), ("99999", 43200)])
def test_the_first_interactive_start_asks_about_idle_models(manager, monkeypatch, answer, minutes):
    keys(monkeypatch, " ", "\r")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda prompt="": answer)
    assert run(["start"]) == 0
    configuration = load_configuration()
    assert configuration.settings.idle_timeout == minutes * 60
    assert configuration.settings.enabled_models == ("org/two-4bit",)
    manager.specs.clear()
    (manager.home / "provider.pid").unlink()
    assert run(["start"]) == 0, "the second start asks nothing"


def remembered():
    return load_configuration().file.values.get("DARKBLOOM_COORDINATOR_URL")


def test_the_first_coordinator_is_remembered_and_no_other(manager):
    for named in ("wss://first.example", "wss://other.example"):
        assert run(["start", "--model", "org/one-4bit", "--coordinator", named]) == 0
        assert remembered() == "wss://first.example"
        (manager.home / "provider.pid").unlink()


def test_a_coordinator_that_needs_a_permission_is_not_remembered(manager):
    line = ["start", "--model", "org/one-4bit", "--coordinator", "ws://192.0.2.1", "--insecure-link"]
    assert run(line) == 0
    assert remembered() is None
