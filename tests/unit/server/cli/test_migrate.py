"""`darkbloom-coordinator migrate`: what it prints, what it refuses, how it exits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from server.cli.main import cli
from server.store.file_lock import exclusive_file
from server.store.migrations import MIGRATIONS


def _run(*args: str, **environment: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [*args], env=environment, standalone_mode=False)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    code = result.return_value if result.exception is None else result.exit_code
    assert isinstance(code, int)
    return code, result.output


def _url(path: Path) -> str:
    return f"sqlite:///{path}"


def test_migrates_once_and_then_has_nothing_to_do(tmp_path: Path) -> None:
    url = _url(tmp_path / "data.db")
    code, output = _run("migrate", DARKBLOOM_DATABASE_URL=url)
    assert code == 0
    assert output.splitlines()[0] == "applied 0001_accounts"
    assert output.count("applied ") == len(MIGRATIONS)
    code, output = _run("migrate", DARKBLOOM_DATABASE_URL=url)
    assert (code, output.count("applied ")) == (0, 0)
    assert output.endswith(f"is at {len(MIGRATIONS):04d}_{MIGRATIONS[-1].name}, nothing to do\n")


def test_json_names_what_was_applied(tmp_path: Path) -> None:
    code, output = _run("migrate", "--json", DARKBLOOM_DATABASE_URL=_url(tmp_path / "data.db"))
    told = json.loads(output)
    assert code == 0
    assert told["version"] == len(told["applied"]) == len(MIGRATIONS)


def test_no_database_and_memory_are_configuration_errors() -> None:
    code, output = _run("migrate")
    assert (code, output.startswith("no database configured: set DARKBLOOM_DATABASE_URL")) == (2, True)
    code, output = _run("migrate", DARKBLOOM_ALLOW_MEMORY_STORE="true")
    assert (code, output) == (2, "A store in memory has nothing to migrate; set DARKBLOOM_DATABASE_URL.\n")


def test_wrong_url_is_a_configuration_error_without_the_password() -> None:
    code, output = _run("migrate", DARKBLOOM_DATABASE_URL="mysql://user:s3cret@host/db")
    assert code == 2
    assert "DARKBLOOM_DATABASE_URL must be" in output
    assert "s3cret" not in output


def test_database_in_use_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    with exclusive_file(path):
        code, output = _run("migrate", DARKBLOOM_DATABASE_URL=_url(path))
    assert code == 1
    assert "database is in use by another coordinator" in output


def test_dead_server_is_a_failed_run_without_the_password() -> None:
    code, output = _run("migrate", DARKBLOOM_DATABASE_URL="postgresql://user:s3cret@127.0.0.1:9/name")
    assert code == 1
    assert "PostgreSQL database name at 127.0.0.1:9 cannot be used" in output
    assert "s3cret" not in output


@pytest.mark.parametrize("command", ["migrate", "doctor"])
def test_unknown_option_is_a_usage_error(command: str) -> None:
    result = CliRunner().invoke(cli, [command, "--nonsense"])
    assert "No such option" in result.output
