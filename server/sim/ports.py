"""What a simulated machine tells the simulated coordinator about its connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from protocol.failure import AttemptFailure
    from server.sim.provider import Provider


class Attempts(Protocol):
    """The coordinator's table of connections; attempts on a connection that ends hear of it."""

    def connected(self, session_id: str, provider: Provider) -> None:
        """A session was registered."""

    def disconnected(self, session_id: str, failure: AttemptFailure) -> None:
        """A session is gone: its attempts fail with `failure`."""

    def supersede(self, provider: Provider, session_id: str) -> None:
        """The machine proved itself on this session: its older ones end."""
