"""What a log line says about its surroundings without being told: ids of the request and provider being worked on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

request_id: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
coord_request_id: Final[ContextVar[str | None]] = ContextVar("coord_request_id", default=None)
provider_id: Final[ContextVar[str | None]] = ContextVar("provider_id", default=None)
attempt: Final[ContextVar[int | None]] = ContextVar("attempt", default=None)

_ALL: Final[tuple[ContextVar[str | None] | ContextVar[int | None], ...]] = (
    request_id,
    coord_request_id,
    provider_id,
    attempt,
)


@dataclass(slots=True)
class RequestNotes:
    """What the layers inside tell the access log: the route's pattern and the account, never a key."""

    route: str = "unmatched"
    account_id: str | None = None


_notes: Final[ContextVar[RequestNotes | None]] = ContextVar("request_notes", default=None)


def request_notes() -> RequestNotes:
    """Return the notes of the request that this task works on; outside of one, notes that nobody reads."""
    return _notes.get() or RequestNotes()


def current() -> dict[str, object]:
    """Return the ids that are set in this task."""
    return {variable.name: value for variable in _ALL if (value := variable.get()) is not None}


@contextmanager
def request_scope(public_id: str, internal_id: str) -> Iterator[RequestNotes]:
    """Name the request that this task and its children work on; yields the notes that they may fill."""
    notes = RequestNotes()
    first, second, third = request_id.set(public_id), coord_request_id.set(internal_id), _notes.set(notes)
    try:
        yield notes
    finally:
        request_id.reset(first)
        coord_request_id.reset(second)
        _notes.reset(third)
