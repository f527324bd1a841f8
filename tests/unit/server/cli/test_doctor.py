"""`darkbloom-coordinator doctor`: each finding, and the exit code that follows from them."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from server.cli.checks import Finding, exit_code
from server.cli.main import cli
from server.store.file_lock import exclusive_file
from server.store.migrations import MIGRATIONS


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "data.db"
    assert _invoke("migrate", _environment(path))[0] == 0
    return path


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


def _environment(path: Path | None = None, **more: str) -> dict[str, str]:
    url = {} if path is None else {"DARKBLOOM_DATABASE_URL": f"sqlite:///{path}"}
    return {"DARKBLOOM_HOST": "127.0.0.1", "DARKBLOOM_PORT": "0", **url, **more}


def _invoke(command: str, environment: dict[str, str]) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [command, "--json"], env=environment, standalone_mode=False)
    assert result.exception is None, result.exception
    assert isinstance(result.return_value, int)
    return result.return_value, result.output


def _findings(environment: dict[str, str]) -> tuple[int, dict[str, list[tuple[str, str]]]]:
    code, output = _invoke("doctor", environment)
    told = json.loads(output)
    assert told["exit_code"] == code
    by_check: dict[str, list[tuple[str, str]]] = {}
    for finding in told["findings"]:
        by_check.setdefault(finding["check"], []).append((finding["status"], finding["text"]))
    return code, by_check


def test_healthy_installation_is_fine(database: Path) -> None:
    code, found = _findings(_environment(database))
    assert code == 0
    assert found["settings"] == [("ok", "all settings can be read")]
    assert found["store"] == [("ok", f"sqlite file {database} answers")]
    assert found["schema"] == [("ok", f"migrated up to {len(MIGRATIONS):04d}_{MIGRATIONS[-1].name}")]
    assert {status for status, _ in found["files"]} == {"ok"}
    assert found["lock"] == [("ok", "no coordinator uses this file")]
    assert found["port"][0][0] == "ok"
    assert found["native"][0][0] in {"ok", "warning"}


def test_running_coordinator_is_noticed_and_its_port_is_no_problem(database: Path, taken_port: int) -> None:
    environment = _environment(database, DARKBLOOM_PORT=str(taken_port))
    with exclusive_file(database):
        code, found = _findings(environment)
    assert code == 0
    assert found["lock"] == [("ok", f"a coordinator runs on this file (process {os.getpid()})")]
    assert found["port"][0] == ("ok", f"127.0.0.1:{taken_port} is in use, and a coordinator is running")


def test_taken_port_fails(database: Path, taken_port: int) -> None:
    code, found = _findings(_environment(database, DARKBLOOM_PORT=str(taken_port)))
    assert code == 1
    assert found["port"][0][0] == "failed"
    assert "Address already in use" in found["port"][0][1]


def test_no_database_is_a_configuration_error(taken_port: int) -> None:
    code, found = _findings(_environment(DARKBLOOM_PORT=str(taken_port)))
    assert code == 2
    assert found["store"][0][1].startswith("no database configured")


def test_memory_is_a_warning() -> None:
    code, found = _findings(_environment(DARKBLOOM_ALLOW_MEMORY_STORE="true"))
    assert (code, found["store"][0][0]) == (0, "warning")


def test_new_file_and_missing_folder(tmp_path: Path) -> None:
    code, found = _findings(_environment(tmp_path / "new.db"))
    assert (code, "does not exist yet" in found["store"][0][1]) == (0, True)
    assert not (tmp_path / "new.db").exists()
    code, found = _findings(_environment(tmp_path / "none" / "new.db"))
    assert (code, found["files"][0][0]) == (1, "failed")


def test_open_file_rights_are_a_warning(database: Path) -> None:
    database.chmod(0o644)
    code, found = _findings(_environment(database))
    assert code == 0
    assert (
        "warning",
        f"the database file {database} is open to other users (mode 0644); run: chmod 600 {database}",
    ) in (found["files"])


def test_missing_migrations_are_a_warning_and_edited_ones_fail(database: Path) -> None:
    connection = sqlite3.connect(database)
    connection.execute("DELETE FROM schema_migrations WHERE version = (SELECT MAX(version) FROM schema_migrations)")
    connection.commit()
    code, found = _findings(_environment(database))
    assert (code, found["schema"][0][0]) == (0, "warning")
    connection.execute("UPDATE schema_migrations SET checksum = 'x' WHERE version = 2")
    connection.commit()
    connection.close()
    code, found = _findings(_environment(database))
    assert (code, found["store"][0][0]) == (1, "failed")
    assert "0002_money" in found["store"][0][1]


def test_file_that_is_no_database_fails(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    path.write_bytes(b"no database at all " * 60)
    code, found = _findings(_environment(path))
    assert (code, found["store"][0][0]) == (1, "failed")


def test_dead_server_fails_without_the_password() -> None:
    environment = _environment(DARKBLOOM_DATABASE_URL="postgresql://user:s3cret@127.0.0.1:9/name")
    code, output = _invoke("doctor", environment)
    assert code == 1
    assert "s3cret" not in output


def test_configuration_outweighs_a_failed_run() -> None:
    run = Finding(check="a", status="failed", text="", exit_code=1)
    configuration = Finding(check="b", status="failed", text="", exit_code=2)
    warning = Finding(check="c", status="warning", text="", exit_code=2)
    assert exit_code([]) == exit_code([warning]) == 0
    assert exit_code([run, warning]) == 1
    assert exit_code([run, configuration]) == 2


def test_plain_output_has_a_line_for_each_finding(database: Path) -> None:
    result = CliRunner().invoke(cli, ["doctor"], env=_environment(database), standalone_mode=False)
    assert all(line.startswith(("ok     ", "warning", "FAILED ")) for line in result.output.splitlines())
    assert f"ok       store     sqlite file {database} answers" in result.output
