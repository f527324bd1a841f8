"""How a streamed answer leaves the coordinator: one small interface, whatever protocol the consumer speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from native import Spout

# The most that goes out in one write: one TLS record, one HTTP/2 frame, one HTTP chunk.
MAX_WRITE_BYTES: Final = 16 * 1024
# What may wait behind a partial write before the consumer counts as gone; a relay bounds its own queue below this.
MAX_WAITING_BYTES: Final = 2 * 1024 * 1024


class ConsumerGone(Exception):
    """The consumer left or read nothing for the whole deadline; its connection is aborted."""


class AnswerAborted(Exception):
    """Raised by a producer to break its answer off: the consumer sees an aborted connection, not a proper end."""


class AnswerWriter(Protocol):
    """Takes the bytes of one answer's body, in order.

    Bytes that several tasks hand over come out in the order of their calls.
    """

    @property
    def direct(self) -> bool:
        """True when `write_now` can hand bytes to the kernel without a task switch."""

    @property
    def idle(self) -> bool:
        """True when nothing waits, so that `write_now` would try the kernel at once."""

    @property
    def spout(self) -> Spout | None:
        """Where a provider's pump may write runs itself, or None; whoever opens it has nothing waiting in front.

        The writer shuts it when something waits here, goes on where it got stuck, and closes it with itself.
        """

    @property
    def closed(self) -> bool:
        """True when the answer ended or the consumer is gone; later bytes are dropped."""

    def write_now(self, data: bytes) -> bool:
        """Write from synchronous code; never blocks, never raises. Meant for direct writers that are idle.

        True: the kernel took everything. False: it did not; the rest is kept in order and the writer is in task mode
        until `drain` returned, or the writer is closed and the bytes are dropped.
        """

    async def drain(self) -> None:
        """Wait until nothing waits; raises ConsumerGone when the deadline passes or the consumer left.

        Cancellation keeps what was not written, for the next call.
        """

    async def write(self, data: bytes) -> None:
        """Write everything, behind what waits; returns when the kernel has it. Raises ConsumerGone as `drain`."""
