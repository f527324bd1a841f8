"""The database URL: which engine it chooses, and how it is shown without its password."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import unquote, urlsplit

from server.store.errors_at_start import StoreNotConfigured

NOT_CONFIGURED: Final = (
    "no database configured: set DARKBLOOM_DATABASE_URL, or DARKBLOOM_ALLOW_MEMORY_STORE=true for a throw-away store"
)
_FORMS: Final = (
    "DARKBLOOM_DATABASE_URL must be postgresql://user@host/name, sqlite:///relative/path.db or "
    "sqlite:////absolute/path.db"
)


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """A SQLite file."""

    path: Path

    def __str__(self) -> str:
        return f"sqlite file {self.path}"


@dataclass(frozen=True, slots=True)
class Memory:
    """A SQLite database that ends with the process."""

    def __str__(self) -> str:
        return "throw-away store in memory"


@dataclass(frozen=True, slots=True, repr=False)
class Postgres:
    """A PostgreSQL database; `dsn` may hold a password and is never shown."""

    dsn: str

    def __str__(self) -> str:
        parts = urlsplit(self.dsn)
        host = parts.hostname or "local socket"
        port = f":{parts.port}" if parts.port else ""
        return f"PostgreSQL database {parts.path.lstrip('/') or '(default)'} at {host}{port}"

    def __repr__(self) -> str:
        return f"Postgres({self})"


Address: TypeAlias = SqliteFile | Memory | Postgres


def parse_address(url: str | None, *, allow_memory: bool) -> Address:
    """Return the database that the URL names; StoreNotConfigured, without the URL in its text, when it names none."""
    if url is None or url in {"", "sqlite://:memory:", "sqlite:///:memory:"}:
        if not allow_memory:
            raise StoreNotConfigured(NOT_CONFIGURED)
        return Memory()
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise StoreNotConfigured(f"{_FORMS}; the given one has no scheme.")
    if scheme == "sqlite":
        return _sqlite_file(rest)
    if scheme in {"postgres", "postgresql"}:
        return _postgres(url)
    raise StoreNotConfigured(f"{_FORMS}; the scheme {scheme[:20]!r} is unknown.")


def _sqlite_file(rest: str) -> SqliteFile:
    if not rest.startswith("/") or len(rest) < 2 or rest.endswith("/"):
        raise StoreNotConfigured(f"{_FORMS}; a SQLite URL has three slashes before a relative path, four before /.")
    if "?" in rest or "#" in rest:
        raise StoreNotConfigured(f"{_FORMS}; a SQLite URL has no options, write ? and # in a name as %3F and %23.")
    return SqliteFile(Path(unquote(rest[1:])))


def _postgres(url: str) -> Postgres:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise StoreNotConfigured(f"{_FORMS}; the host or port of the given one cannot be read.") from None
    return Postgres(url)
