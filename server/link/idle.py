"""Reading the connections on which nothing happens but heartbeats: one task for all of them, a batch at a time.

A task switch and two system calls for each heartbeat of thousands of idle providers cost more than the heartbeats. So a
connection without attempts is parked: the kernel watches its socket in a set of its own, and one task reads what is
ready there, at most every `GATHER_SECONDS`. The first frame after a pause is read at once; a connection that gets an
attempt leaves the set before its request is written, so nothing that a consumer waits for is ever gathered.

Invariant: a parked connection is read by this task alone, and frames keep their order: its own task sleeps, and goes on
exactly where this task left off.
Invariant: between a read and the end of what it causes there is no checkpoint.
"""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import outcome
import trio

from server.link.transport import RECEIVE_BYTES, TransportLost

if TYPE_CHECKING:
    from native import Event, Pump
    from server.link.transport import Transport

GATHER_SECONDS: Final = 0.02
"""How long frames of parked connections may wait for company; nothing with a deadline under a second comes there."""
# One batch is one step of the task, and ends early when peers sent so much that it gets long: a step may take 5 ms.
_BATCH_CONNECTIONS: Final = 32
_STEP_SECONDS: Final = 0.002
_BATCH_EVENTS: Final = 32

Events: TypeAlias = "list[Event]"


class Dispatching(Protocol):
    """The reader of a connection, as far as this task does its work."""

    read_all: bool

    def dispatch(self, events: Events) -> None:
        """Handle events in order, without a checkpoint."""


class Parked:
    """One parked connection; `task` sleeps in `IdleReads.park`."""

    __slots__ = ("descriptor", "pump", "reader", "task", "transport")

    def __init__(self, transport: Transport, pump: Pump, reader: Dispatching, task: trio.lowlevel.Task) -> None:
        """Hold what reading needs."""
        self.transport = transport
        self.pump = pump
        self.reader = reader
        self.task = task
        self.descriptor = transport.descriptor


class IdleReads:
    """The parked connections by descriptor; works where the kernel has epoll, elsewhere nothing is ever parked."""

    def __init__(self) -> None:
        """Start with nothing parked; `run` opens the set."""
        self._set: select.epoll | None = None
        self._parked: dict[int, Parked] = {}

    def __len__(self) -> int:
        return len(self._parked)

    def can_park(self, transport: Transport) -> bool:
        """Whether this connection has a plain socket and somebody reads the set."""
        return self._set is not None and transport.descriptor >= 0

    async def park(self, transport: Transport, pump: Pump, reader: Dispatching) -> Events:
        """Sleep until the connection needs its own task; returns events that it must handle before it reads on.

        Call it only while `can_park`. Cancelled, the connection leaves the set. Raises what handling a frame raised.
        """
        watched = self._set
        if watched is None:
            await trio.lowlevel.checkpoint()
            return []
        parked = Parked(transport, pump, reader, trio.lowlevel.current_task())
        try:
            watched.register(parked.descriptor, select.EPOLLIN)
        except OSError:  # the kernel watches no more descriptors for us, or the socket is closed
            await trio.lowlevel.checkpoint()
            return []
        self._parked[parked.descriptor] = parked

        def leave(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._forget(parked)
            return trio.lowlevel.Abort.SUCCEEDED

        events: Events = await trio.lowlevel.wait_task_rescheduled(leave)
        return events

    def wake(self, transport: Transport) -> None:
        """Give a connection back to its own task; harmless when it is not parked."""
        parked = self._parked.get(transport.descriptor)
        if parked is not None and parked.transport is transport:
            self._hand_over(parked, outcome.Value([]))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read the parked connections until cancelled, then give all of them back."""
        if not hasattr(select, "epoll"):
            task_status.started()
            return
        with select.epoll() as watched:
            self._set = watched
            try:
                task_status.started()
                while True:
                    await trio.lowlevel.wait_readable(watched.fileno())
                    while ready := watched.poll(0, _BATCH_CONNECTIONS):
                        if not self._read(ready) or len(ready) == _BATCH_CONNECTIONS:
                            await trio.lowlevel.checkpoint()
                        else:
                            await trio.sleep(GATHER_SECONDS)
            finally:
                self._set = None
                for parked in list(self._parked.values()):
                    self._hand_over(parked, outcome.Value([]))

    def _read(self, ready: list[tuple[int, int]]) -> bool:
        """Read these connections; False when the step's time was over before all had their turn: they stay ready."""
        until = time.perf_counter() + _STEP_SECONDS
        for descriptor, _mask in ready:
            if time.perf_counter() >= until:
                return False
            # A frame before this one may have ended its connection, or any other.
            parked = self._parked.get(descriptor)
            if parked is None:
                continue
            try:
                left = _read_one(parked)
            except Exception as error:
                self._hand_over(parked, outcome.Error(error))
                continue
            if left is not None:
                self._hand_over(parked, outcome.Value(left))
        return True

    def _hand_over(self, parked: Parked, result: outcome.Value[Events] | outcome.Error) -> None:
        if self._forget(parked):
            trio.lowlevel.reschedule(parked.task, result)

    def _forget(self, parked: Parked) -> bool:
        if self._parked.get(parked.descriptor) is not parked:
            return False
        del self._parked[parked.descriptor]
        if self._set is not None:
            try:
                self._set.unregister(parked.descriptor)
            except OSError:
                pass  # the socket was closed, and with that it left the set
        return True


def _read_one(parked: Parked) -> Events | None:
    """Read and handle what is there; returns what is left to the connection's own task, None when it may sleep on."""
    try:
        data = parked.transport.receive_now()
    except TransportLost:
        return []  # its own task meets the end of the stream too
    if data is None:
        return None
    if not data:
        return []
    many = len(data) == RECEIVE_BYTES
    events = parked.pump.feed(data)
    if len(events) > _BATCH_EVENTS:
        return events
    parked.reader.dispatch(events)
    return [] if many or parked.reader.read_all else None
