"""What a log line says about its surroundings without being told: ids of the request and provider being worked on."""

from __future__ import annotations

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


UNMATCHED: Final = "unmatched"
"""The route of a request that no endpoint knows."""


@dataclass(slots=True)
class RequestNotes:
    """What the layers inside tell the access log: the route's pattern and the account, never a key."""

    route: str = UNMATCHED
    account_id: str | None = None


_notes: Final[ContextVar[RequestNotes | None]] = ContextVar("request_notes", default=None)


def request_notes() -> RequestNotes:
    """Return the notes of the request that this task works on; outside of one, notes that nobody reads."""
    return _notes.get() or RequestNotes()


def current() -> dict[str, object]:
    """Return the ids that are set in this task."""
    return {variable.name: value for variable in _ALL if (value := variable.get()) is not None}


class RequestScope:
    """Names the request that this task and its children work on; a context manager, yields the notes to fill."""

    __slots__ = ("_ids", "_notes", "_tokens")

    def __init__(self, public_id: str, internal_id: str) -> None:
        self._ids = public_id, internal_id
        self._notes = RequestNotes()

    def __enter__(self) -> RequestNotes:
        self._tokens = request_id.set(self._ids[0]), coord_request_id.set(self._ids[1]), _notes.set(self._notes)
        return self._notes

    def __exit__(self, *_: object) -> None:
        request_id.reset(self._tokens[0])
        coord_request_id.reset(self._tokens[1])
        _notes.reset(self._tokens[2])
