"""`darkbloom start`: what it refuses, and how it restarts itself."""

import importlib.util
import os
import sys

import pytest

from provider import hardening
from provider.cli.root import run

LINE = ["start", "--foreground", "--model", "demo"]


class Restarted(Exception):
    """Instead of a new process."""


@pytest.fixture
def restarts(monkeypatch):
    """Collect the arguments of restarts; nothing runs after one."""
    seen = []

    def restart(arguments):
        seen.append(arguments)
        raise Restarted

    monkeypatch.setattr(hardening, "restart_with_clean_environment", restart)
    return seen


def test_a_start_without_a_model_is_refused(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DARKBLOOM_HOME", str(tmp_path))
    monkeypatch.setenv("DARKBLOOM_COORDINATOR_URL", "ws://127.0.0.1:1")
    assert run(["start"]) == 1
    assert "fix: darkbloom start --model ID" in capsys.readouterr().err
    assert run(["start", "--foreground"]) == 1
    assert "--model DIRECTORY" in capsys.readouterr().err


def test_both_ways_of_the_local_server_at_once_are_refused(capsys):
    assert run(["start", "--local", "--local-endpoint"]) == 1
    assert "choose one" in capsys.readouterr().err


def test_restart_does_not_search_the_working_directory_where_the_command_did_not(restarts, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/darkbloom", *LINE])
    elsewhere = [entry for entry in sys.path if entry not in ("", os.getcwd())]
    monkeypatch.setattr(sys, "path", elsewhere)
    assert run(LINE) == 70
    monkeypatch.setattr(sys, "path", [os.getcwd(), *elsewhere])
    assert run(LINE) == 70
    assert restarts == [["-P", "-m", "provider.cli", *LINE], ["-m", "provider.cli", *LINE]]


def test_missing_engine_is_named_with_its_remedy(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for line in (LINE, ["dev"]):
        assert run(line) == 1
        assert "in the source folder: pip install -c constraints.txt '.[provider]'" in capsys.readouterr().err


def test_wrong_settings_are_a_configuration_error(monkeypatch, capsys):
    monkeypatch.setenv("DARKBLOOM_MAX_MODEL_SLOTS", "many")
    assert run([*LINE, "--coordinator", "not a url"]) == 2
    told = capsys.readouterr().err
    assert "DARKBLOOM_MAX_MODEL_SLOTS" in told
    assert "DARKBLOOM_COORDINATOR_URL" in told


def test_serve_is_start_in_the_foreground(monkeypatch):
    seen = []
    monkeypatch.setattr("provider.cli.foreground.serve", lambda wanted: seen.append(wanted) or 0)
    options = ["--model", "demo", "--max-concurrent", "3", "--local-endpoint", "--port", "8001"]
    assert run(["serve", *options]) == run(["start", "--foreground", *options]) == 0
    assert seen[0] == seen[1]
    assert seen[0].overrides["DARKBLOOM_MAX_CONCURRENT"] == "3"
    assert run(["serve", "--force"]) == 64
