"""A database that a coordinator process and the test both work with, on either engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from server.billing.prices import Tariff
from server.billing.service import make_billing
from server.store.address import Postgres, SqliteFile
from server.store.dialect import EngineKind
from server.store.open import opened
from server.store.sqlite import SqliteStore
from tests.testbed.money_people import People, now_micro
from tests.testbed.postgres_server import NoServer, PostgresServer, candidate_folders

GRACE_SECONDS = 16 * 60
"""Past the expiry of every hold that nobody extends."""


@dataclass(frozen=True, slots=True)
class Bank:
    """A database; `url` is what the coordinator is told."""

    kind: EngineKind
    url: str
    path: Path | None = None

    @property
    def settings(self) -> dict[str, str]:
        """Settings of a coordinator over this database."""
        return {"DARKBLOOM_DATABASE_URL": self.url, "DARKBLOOM_ALLOW_MEMORY_STORE": "false"}

    @asynccontextmanager
    async def people(self) -> AsyncIterator[People]:
        """Open the database beside the coordinator, which may be running."""
        if self.path is not None:
            store = SqliteStore(self.path)
            try:
                yield People(store)
            finally:
                await store.aclose()
        else:
            async with opened(Postgres(self.url), wall_clock=now_micro) as postgres:
                yield People(postgres)

    async def migrate(self) -> None:
        """Make the schema, as a coordinator's start would."""
        address = Postgres(self.url) if self.path is None else SqliteFile(self.path)
        async with opened(address, wall_clock=now_micro):
            pass

    async def after_grace(self) -> list[str]:
        """Sweep as a coordinator would once all holds have expired; gives what is wrong with the books then."""
        async with self.people() as people:
            billing = make_billing(
                people.store,
                Tariff(),
                wall_clock=lambda: now_micro() + GRACE_SECONDS * 1_000_000,
                instance_id="testbed",
                is_known_model=lambda _model: True,
            )
            await billing.sweeper.turn()
            report = await people.audit()
        left = [f"{report.open_holds} holds are left open"] if report.open_holds else []
        return left + [str(problem) for problem in report.problems]


def sqlite_bank(folder: Path) -> Bank:
    """Name a file for a database; it has no schema yet."""
    path = folder / "money.db"
    return Bank("sqlite", f"sqlite:///{path}", path)


def own_server() -> PostgresServer:
    """Start a PostgreSQL server that one test may stop; raises NoServer."""
    folders = candidate_folders()
    if not folders:
        raise NoServer("No PostgreSQL server can be started: no binaries were found.")
    server = PostgresServer(folders[0])
    server.start()
    return server


def postgres_bank(server: PostgresServer) -> Bank:
    """Name the server's own database; it has no schema yet."""
    return Bank("postgres", server.url())
