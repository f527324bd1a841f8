"""All requests of the coordinator that this machine has taken, from receipt to terminal.

Invariant: an id in `_live` has exactly one task, which sends exactly one terminal unless its connection is lost.
Invariant: between the last check of `is_draining` and counting a request as in flight there is no checkpoint.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from protocol.codec import encode
from protocol.identity import Signer
from protocol.messages.to_provider import InferenceRequest
from protocol.sealing import ProviderKeyPair
from provider.engine import Engine
from provider.models.slots import SlotManager
from provider.observe.place import last_place
from provider.requests.counters import RequestCounters
from provider.requests.life import RequestLife
from provider.requests.ports import FrameLane
from provider.requests.refusal import DRAINING, INTERNAL, TOO_MANY, Refusal, error_frame

log = logging.getLogger(__name__)

MAX_REQUESTS: Final = 256
"""Requests of the whole process, those included that are still being opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestServices:
    """What every request uses. `clock` is the engine's (``time.monotonic``), `wall_clock` gives Unix seconds.

    `threads` bounds the opening of large bodies. `renderer` admits one thread at a time, because two threads must not
    use one tokenizer. `note_queued` hears how long an answered request waited for its row, in seconds.
    """

    engine: Engine
    slots: SlotManager
    keys: ProviderKeyPair
    signer: Signer | None
    is_advertised: Callable[[str], bool]
    clock: Callable[[], float]
    wall_clock: Callable[[], float]
    threads: trio.CapacityLimiter
    renderer: trio.CapacityLimiter
    counters: RequestCounters
    note_queued: Callable[[float], None] = lambda _seconds: None


class RequestDesk:
    """Trio thread only. `nursery` owns the request tasks; `on_change` is called when the load of the machine moved."""

    def __init__(
        self, services: RequestServices, nursery: trio.Nursery, *, on_change: Callable[[], None] = lambda: None
    ) -> None:
        self.services = services
        self.is_draining = False
        self._nursery = nursery
        self._on_change = on_change
        self._live: dict[str, RequestLife] = {}
        self._in_flight = 0
        self._emptied = trio.Event()
        self._emptied.set()

    @property
    def in_flight(self) -> int:
        """Requests that were admitted and have no terminal yet."""
        return self._in_flight

    @property
    def live(self) -> int:
        """Requests that were received and have no terminal yet."""
        return len(self._live)

    def accept(self, message: InferenceRequest, lane: FrameLane) -> None:
        """Take a request; never blocks. Its frames go to `lane`; a repeated id is ignored."""
        try:
            self._accept(message, lane)
        except Exception as error:  # a fault of ours over one request must not end the connection of all
            _log_fault(message.request_id, error)
            lane.put(encode(error_frame(message.request_id, INTERNAL)))

    def _accept(self, message: InferenceRequest, lane: FrameLane) -> None:
        request_id = message.request_id
        counters = self.services.counters
        if request_id in self._live:
            counters.duplicates_ignored += 1
            log.warning("duplicate request ignored", extra={"request_id": request_id})
            return
        refusal = self._refuses_now()
        if refusal is not None:
            lane.put(encode(error_frame(request_id, refusal)))
            return
        life = RequestLife(self, message, lane, received_at=self.services.clock())
        self._nursery.start_soon(self._run, life, lane, name=f"request {request_id}")
        self._live[request_id] = life
        self._emptied = trio.Event() if self._emptied.is_set() else self._emptied

    def cancel(self, request_id: str) -> None:
        """End a request early; unknown and finished ids are ignored."""
        life = self._live.get(request_id)
        if life is None:
            self.services.counters.cancels_unknown += 1
            return
        self.services.counters.cancellations_received += 1
        life.cancel()

    def drop_lane(self, lane_owner: object) -> None:
        """The connection is gone: cancel its requests; they send nothing more."""
        for life in self._live.values():
            if life.belongs_to(lane_owner):
                life.abandon()

    def cancel_all(self) -> None:
        """End every request early, with its terminal."""
        for life in list(self._live.values()):
            life.cancel()

    def close_admission(self) -> None:
        """Refuse new requests from now on; those already admitted go on, and nothing of the old ones is kept."""
        self.is_draining = True
        self.services.engine.trim_prefixes(0.0)
        self._on_change()

    def open_admission(self) -> None:
        """Take requests again."""
        self.is_draining = False
        self._on_change()

    async def wait_idle(self) -> None:
        """Wait until every request has its terminal."""
        while self._live:
            await self._emptied.wait()

    def admit(self) -> bool:
        """Count a request as in flight, unless the daemon began to drain; no checkpoint inside."""
        if self.is_draining:
            return False
        self._in_flight += 1
        self._on_change()
        return True

    def note_load(self) -> None:
        """A model is about to load, or did."""
        self._on_change()

    def _refuses_now(self) -> Refusal | None:
        if self.is_draining:
            return DRAINING
        return TOO_MANY if len(self._live) >= MAX_REQUESTS else None

    async def _run(self, life: RequestLife, lane: FrameLane) -> None:
        try:
            await life.run()
        except Exception as error:  # nothing was sent yet: the terminal is the last thing that a request does
            _log_fault(life.request_id, error)
            lane.put(encode(error_frame(life.request_id, INTERNAL)))
        finally:
            self._in_flight -= life.is_admitted
            del self._live[life.request_id]
            if not self._live:
                self._emptied.set()
            self._on_change()


def _log_fault(request_id: str, error: Exception) -> None:
    """Log kind and place; the text may hold content."""
    log.error(
        "request failed", extra={"request_id": request_id, "fault": type(error).__name__, "place": last_place(error)}
    )
