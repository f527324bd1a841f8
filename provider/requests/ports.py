"""What requests need of a connection."""

from typing import Protocol


class FrameLane(Protocol):
    """The outgoing frames of one request on one connection, in order. Trio thread only."""

    @property
    def owner(self) -> object:
        """The connection, by identity."""

    def put(self, frame: bytes) -> None:
        """Queue a frame; dropped silently when the connection is gone. The caller keeps to `room` for chunks."""

    async def room(self) -> None:
        """Wait until fewer frames than the bound are queued; returns at once when there is room."""

    def hurry(self) -> None:
        """The request ends early: `room` does not wait any more."""
