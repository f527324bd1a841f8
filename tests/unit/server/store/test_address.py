"""The database URL chooses the engine; nothing is chosen silently, nothing shows a password."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from server.store.address import Memory, Postgres, SqliteFile, parse_address
from server.store.errors_at_start import StoreNotConfigured
from server.store.open import open_store
from tests.testbed.store import ticking_clock

MESSAGE = (
    "no database configured: set DARKBLOOM_DATABASE_URL, or DARKBLOOM_ALLOW_MEMORY_STORE=true for a throw-away store"
)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///data.db", "data.db"),
        ("sqlite:///relative/data.db", "relative/data.db"),
        ("sqlite:////var/lib/data.db", "/var/lib/data.db"),
        ("sqlite:////var/my%20data%3F.db", "/var/my data?.db"),
    ],
)
def test_sqlite_urls_name_files(url: str, path: str) -> None:
    assert parse_address(url, allow_memory=False) == SqliteFile(Path(path))
    assert parse_address(url, allow_memory=True) == SqliteFile(Path(path))


@pytest.mark.parametrize("url", [None, "", "sqlite://:memory:"])
def test_memory_needs_the_permission(url: str | None) -> None:
    with pytest.raises(StoreNotConfigured) as error:
        parse_address(url, allow_memory=False)
    assert str(error.value) == MESSAGE
    assert parse_address(url, allow_memory=True) == Memory()


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:s3cret@h/db", "s3cret", "sqlite:/x.db", "sqlite://x.db", "sqlite:///", "sqlite:///dir/",
        "sqlite:///x.db?mode=ro", "postgresql://u:s3cret@h:port/db", "postgresql://u:s3cret@[h/db",
    ],
)  # fmt: skip
@pytest.mark.parametrize("allow_memory", [False, True])
def test_other_urls_are_refused_without_being_shown(url: str, allow_memory: bool) -> None:
    with pytest.raises(StoreNotConfigured, match="DARKBLOOM_DATABASE_URL must be") as error:
        parse_address(url, allow_memory=allow_memory)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_postgres_is_shown_without_user_and_password(scheme: str) -> None:
    address = parse_address(f"{scheme}://user:s3cret@db.example:5433/ledger", allow_memory=False)
    assert isinstance(address, Postgres)
    assert str(address) == "PostgreSQL database ledger at db.example:5433"
    assert "s3cret" not in repr(address)


async def test_memory_store_warns_at_every_start(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="darkbloom.store"):
        async with open_store(None, allow_memory=True, wall_clock=ticking_clock()) as store:
            await store.ping()
    assert "the store is in memory" in caplog.text


async def test_dead_server_is_not_replaced_by_memory() -> None:
    with pytest.raises(Exception, match="cannot be reached"):
        async with open_store("postgresql://u:p@127.0.0.1:9/name", allow_memory=True, wall_clock=ticking_clock()):
            pytest.fail("it opened")
