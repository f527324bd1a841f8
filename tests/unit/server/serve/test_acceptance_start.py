"""What `serve` does about its database at the start, as a process: every refusal with its exit code and its reason."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from server.store.file_lock import exclusive_file

ROOT = Path(__file__).parents[4]
UNSET = (
    "no database configured: set DARKBLOOM_DATABASE_URL, or DARKBLOOM_ALLOW_MEMORY_STORE=true for a throw-away store"
)
DEAD = "postgresql://user:s3cret-pass@127.0.0.1:9/ledger"


def _run(command: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DARKBLOOM_")}
    return subprocess.run(
        [sys.executable, "-m", "server.cli", command, *arguments],
        cwd=ROOT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _serve(**environment: str) -> subprocess.CompletedProcess[str]:
    return _run("serve", "--host", "127.0.0.1", "--port", "0", **environment)


def test_without_a_database_it_says_how_to_name_one() -> None:
    done = _serve()
    assert done.returncode == 2  # configuration
    assert UNSET in done.stderr


def test_a_dead_server_is_not_replaced_by_memory_that_is_allowed() -> None:
    done = _serve(DARKBLOOM_DATABASE_URL=DEAD, DARKBLOOM_ALLOW_MEMORY_STORE="true")
    assert done.returncode == 1
    assert "PostgreSQL database ledger at 127.0.0.1:9" in done.stderr
    assert "s3cret-pass" not in done.stderr + done.stdout
    assert "listening" not in done.stdout


def test_a_second_process_on_one_file_ends(tmp_path: Path) -> None:
    path = tmp_path / "coordinator.db"
    with exclusive_file(path):
        done = _serve(DARKBLOOM_DATABASE_URL=f"sqlite:///{path}")
    assert done.returncode == 1
    assert "database is in use by another coordinator" in done.stderr
    assert "listening" not in done.stdout


def test_an_edited_migration_is_named(tmp_path: Path) -> None:
    path = tmp_path / "coordinator.db"
    assert _run("migrate", DARKBLOOM_DATABASE_URL=f"sqlite:///{path}").returncode == 0
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE schema_migrations SET checksum = 'edited' WHERE version = 2")
        database.commit()
    done = _serve(DARKBLOOM_DATABASE_URL=f"sqlite:///{path}")
    assert done.returncode == 1
    assert "0002_money" in done.stderr
    assert "listening" not in done.stdout
