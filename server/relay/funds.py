"""The money side of a request as the relay sees it: what it may cost is reserved first, and fixed per dispatch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from protocol.api.errors import ApiError
    from server.relay.job import RelayJob


@dataclass(frozen=True, slots=True)
class ServedBy:
    """The machine that a request is about to be sent to: its owner (None: not linked), its key's text, the build."""

    account_id: str | None
    provider_key: str
    build: str


class Funds(Protocol):
    """Reserves money before routing. Whatever it reserved ends with the request's settlement."""

    async def admit(self, job: RelayJob) -> None:
        """Reserve what the request may cost at most; called once, before routing.

        Raises ApiError 402 or 503. Cancelled, it leaves nothing reserved.
        """

    async def grow(self, job: RelayJob) -> None:
        """Reserve for a prompt that turned out larger than at admission (`job.prompt_bound`); called before routing.

        Raises ApiError 402 or 503.
        """

    async def dispatch(self, job: RelayJob, served_by: ServedBy) -> ApiError | None:
        """Fix the price for a dispatch. An error: the caller's money does not carry this machine's price, and nothing
        has changed; it is the answer if no other machine is left. Raises ApiError 503.
        """

    async def hedge(self, job: RelayJob, served_by: ServedBy) -> Callable[[], None] | None:
        """Make the money carry a second machine beside the one that was dispatched to; None when it does not.

        One reservation carries both: it is as large as the dearer of the two, never their sum. Nothing else changes
        until the result is called, which makes this machine the one that is paid, at the price looked up here. Raises
        ApiError 503. Cancelled, the reservation may stay larger until the settlement, which gives back what is left.
        """


class FreeOfCharge:
    """Reserves nothing: for a coordinator without accounts."""

    async def admit(self, job: RelayJob) -> None:
        """Do nothing."""

    async def grow(self, job: RelayJob) -> None:
        """Do nothing."""

    async def dispatch(self, job: RelayJob, served_by: ServedBy) -> ApiError | None:
        """Let everything pass."""
        return None

    async def hedge(self, job: RelayJob, served_by: ServedBy) -> Callable[[], None] | None:
        """Let everything pass."""
        return _nothing


def _nothing() -> None:
    """Nobody is paid."""
