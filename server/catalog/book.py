"""The catalogue in memory: what requests and public lists read, and what routing is told.

Invariant: readers see one whole state of the catalogue; a new one replaces it at once.
Invariant: once a model was in the database, the catalogue stays configured: to retire the last model closes it.
Owner: one background task reads the database every few seconds, because other coordinators write to it too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import trio

from server.catalog.alias_rows import read_aliases
from server.catalog.routing import catalog_entry, model_from_file
from server.catalog.rows import read_models
from server.store.errors import StoreUnavailable

if TYPE_CHECKING:
    from server.catalog.records import Alias, CatalogModel
    from server.registry import CatalogEntry
    from server.store import Store, Tx

REFRESH_SECONDS: Final = 10.0

_log = logging.getLogger("darkbloom.catalog")


class AliasTarget(NamedTuple):
    """What a public name stands for: the build to serve it with, and the one to fall back to."""

    alias: str
    desired: str
    previous: str | None


class ModelDirectory(Protocol):
    """What requests and lists ask of the catalogue; every answer comes from memory."""

    def resolve(self, name: str) -> AliasTarget | None:
        """Give the builds behind an active alias; None for a name that is none."""

    def model(self, model_id: str) -> CatalogModel | None:
        """Give an entry that may be served."""

    def models(self) -> Iterable[CatalogModel]:
        """Give the entries that may be served, by id."""

    def aliases(self) -> Iterable[Alias]:
        """Give the active aliases, by id."""

    def is_hidden(self, build: str) -> bool:
        """Whether a build stands behind an active alias, and is not listed itself."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One state of the catalogue; a ModelDirectory."""

    served: Mapping[str, CatalogModel] = field(default_factory=dict)
    named: Mapping[str, Alias] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()

    def resolve(self, name: str) -> AliasTarget | None:
        """See ModelDirectory."""
        alias = self.named.get(name)
        return None if alias is None else AliasTarget(name, alias.desired_build, alias.previous_build or None)

    def model(self, model_id: str) -> CatalogModel | None:
        """See ModelDirectory."""
        return self.served.get(model_id)

    def models(self) -> Iterable[CatalogModel]:
        """See ModelDirectory."""
        return self.served.values()

    def aliases(self) -> Iterable[Alias]:
        """See ModelDirectory."""
        return self.named.values()

    def is_hidden(self, build: str) -> bool:
        """See ModelDirectory."""
        return build in self.hidden


NOTHING_LISTED: Final[ModelDirectory] = Snapshot()
"""A directory without entries and aliases: everything that is offered is served under its own name."""


def snapshot_of(models: Iterable[CatalogModel], aliases: Iterable[Alias]) -> Snapshot:
    """Put the state together from all rows; retired models and inactive aliases are left out."""
    named = {alias.id: alias for alias in sorted(aliases, key=lambda one: one.id) if alias.active}
    return Snapshot(
        served={model.id: model for model in sorted(models, key=lambda one: one.id) if model.is_served},
        named=named,
        hidden=frozenset(
            build for alias in named.values() for build in (*alias.builds, *alias.retired_builds) if build != alias.id
        ),
    )


class ModelBook:
    """The catalogue of a coordinator: rows of the database over the entries of a file; a ModelDirectory.

    `on_change` gets the entries that routing works with, None for "everything that is offered"; it is called when they
    changed. Entries of a file are the ground: a row with the same id wins.
    """

    def __init__(
        self,
        store: Store,
        *,
        file_entries: Iterable[CatalogEntry] | None,
        file_aliases: Iterable[Alias] = (),
        on_change: Callable[[list[CatalogEntry] | None], None],
    ) -> None:
        self._store = store
        self._file_entries = None if file_entries is None else list(file_entries)
        self._file_aliases = list(file_aliases)
        self._on_change = on_change
        self._refreshing = trio.Lock()
        self._told: list[CatalogEntry] | None = self._file_entries
        self._now = snapshot_of(map(model_from_file, self._file_entries or ()), self._file_aliases)

    def resolve(self, name: str) -> AliasTarget | None:
        """See ModelDirectory."""
        return self._now.resolve(name)

    def model(self, model_id: str) -> CatalogModel | None:
        """See ModelDirectory."""
        return self._now.model(model_id)

    def models(self) -> Iterable[CatalogModel]:
        """See ModelDirectory."""
        return self._now.models()

    def aliases(self) -> Iterable[Alias]:
        """See ModelDirectory."""
        return self._now.aliases()

    def is_hidden(self, build: str) -> bool:
        """See ModelDirectory."""
        return self._now.is_hidden(build)

    @property
    def configured(self) -> bool:
        """Whether there is a catalogue at all: without one everything that is offered may be served."""
        return self._told is not None

    async def refresh(self) -> None:
        """Read the database and take over what changed; raises StoreUnavailable."""
        async with self._refreshing:  # so that an older reading never replaces a newer one
            models, aliases = await self._store.read(_read)
            self._take(models, aliases)

    def _take(self, models: list[CatalogModel], aliases: list[Alias]) -> None:
        in_file = {entry.id: model_from_file(entry) for entry in self._file_entries or ()}
        in_rows = {model.id: model for model in models}
        self._now = snapshot_of(
            (in_file | in_rows).values(),
            ({alias.id: alias for alias in self._file_aliases} | {alias.id: alias for alias in aliases}).values(),
        )
        self._tell(in_rows)

    async def run(self) -> None:
        """Follow the database until cancelled; while it is away the last state stays in force."""
        while True:
            await trio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except StoreUnavailable:
                _log.warning("the catalogue could not be read; the last one stays in force")

    def _tell(self, in_rows: Mapping[str, CatalogModel]) -> None:
        entries: list[CatalogEntry] | None = None
        if self._file_entries is not None or in_rows:
            merged = {entry.id: entry for entry in self._file_entries or ()}
            merged |= {model.id: catalog_entry(model) for model in in_rows.values()}
            entries = sorted(merged.values(), key=lambda entry: entry.id)
        if entries != self._told:
            self._told = entries
            self._on_change(entries)


async def _read(tx: Tx) -> tuple[list[CatalogModel], list[Alias]]:
    return await read_models(tx), await read_aliases(tx)
