"""Reservations and the per-session ledger that holds them.

Invariant: a ledger holds exactly the reservations that are not terminal; each leaves it once.
Invariant: per-model sums equal a recount of the reservations at any time.
Owner: the registry; `Ledger.add` and `Ledger.remove` are called by reserve and release alone.
"""

from __future__ import annotations

import logging
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

log = logging.getLogger(__name__)


class ReservationState(StrEnum):
    """How far an attempt has come; only TERMINAL frees the capacity."""

    RESERVED = "reserved"
    SENT = "sent"
    ACCEPTED = "accepted"
    STREAMING = "streaming"
    TERMINAL = "terminal"


_RANK = {state: rank for rank, state in enumerate(ReservationState)}


class ReleaseCause(Enum):
    """Who ended a reservation."""

    OWNER = "owner"
    DISCONNECT = "disconnect"
    QUEUE = "queue"
    """Assigned to a waiter that did not take it."""
    AUDIT = "audit"


class Reservation:
    """Capacity of one provider held for one attempt, and the context manager that gives it back.

    `with reservation:` releases at the end unless that happened before. `release()` may be called any number of times:
    the first call frees the capacity and wakes waiters, later ones change nothing and are logged.
    """

    __slots__ = (
        "_owner_alive",
        "_releaser",
        "attempt",
        "cached_tokens",
        "cold",
        "first_sign_at",
        "fresh",
        "kv_rate",
        "logical_id",
        "max_tokens",
        "model",
        "need",
        "on_content",
        "prompt_tokens",
        "reached",
        "reflected",
        "release_cause",
        "request_id",
        "reserved_at",
        "session_id",
        "started",
        "state",
    )

    def __init__(
        self,
        *,
        request_id: str,
        logical_id: str,
        attempt: int,
        session_id: str,
        model: str,
        prompt_tokens: int,
        max_tokens: int,
        kv_rate: int,
        reserved_at: float,
        cold: bool,
        cached_tokens: int = 0,
        releaser: Callable[[Reservation, ReleaseCause, float | None], None],
    ) -> None:
        self.request_id = request_id
        self.logical_id = logical_id
        self.attempt = attempt
        self.session_id = session_id
        self.model = model
        self.prompt_tokens = prompt_tokens
        self.max_tokens = max_tokens
        self.need = prompt_tokens + max_tokens
        """Tokens charged."""
        self.kv_rate = kv_rate
        self.reserved_at = reserved_at
        self.cold = cold
        """The model was not resident at reserve time, so `inference_accepted` may extend the first-content wait."""
        self.cached_tokens = cached_tokens
        """Tokens of the prompt that the machine is believed to hold, where it was chosen for that."""
        self.state = ReservationState.RESERVED
        self.reached = ReservationState.RESERVED
        """How far the attempt had come when it ended."""
        self.first_sign_at: float | None = None
        self.fresh = True
        """No report came since it was taken, so none can count it; one that comes later does."""
        self.reflected = False
        """The provider's own report surely holds the tokens of this request already."""
        self.started = False
        """Its first content came: its prompt is no work any more."""
        self.release_cause: ReleaseCause | None = None
        self._owner_alive: Callable[[], bool] | None = None
        self.on_content: Callable[[Reservation, float], None] | None = None
        """Set by the registry, which must learn that the model is loaded."""
        self._releaser = releaser

    @property
    def released(self) -> bool:
        """True once the capacity was given back."""
        return self.state is ReservationState.TERMINAL

    def bind_owner(self, alive: Callable[[], bool]) -> None:
        """Tell the auditor how to see whether the task that must release this reservation still exists."""
        self._owner_alive = alive

    def owner_gone(self) -> bool:
        """Return True when a bound owner has ended without releasing."""
        return self._owner_alive is not None and not self._owner_alive()

    @property
    def has_owner(self) -> bool:
        """True when `bind_owner` was called."""
        return self._owner_alive is not None

    def mark_sent(self) -> None:
        """Note that the kernel took the whole request frame."""
        self._advance(ReservationState.SENT)

    def mark_accepted(self, now: float) -> None:
        """Note `inference_accepted`."""
        self._sign(ReservationState.ACCEPTED, now)

    def mark_streaming(self, now: float) -> None:
        """Note the first chunk: whatever the provider reports, the model is loaded."""
        if self.on_content is not None and _RANK[self.state] < _RANK[ReservationState.STREAMING]:
            self.on_content(self, now)
        self._sign(ReservationState.STREAMING, now)

    def _sign(self, state: ReservationState, now: float) -> None:
        if self.first_sign_at is None:
            self.first_sign_at = now
        self._advance(state)

    def _advance(self, state: ReservationState) -> None:
        """States only move forward; a late frame of a released attempt changes nothing."""
        if _RANK[state] > _RANK[self.state]:
            self.state = state

    def release(self, now: float | None = None, *, cause: ReleaseCause = ReleaseCause.OWNER) -> bool:
        """Give the capacity back and wake whoever waits for it; True for the call that did it.

        Never blocks and never raises. Without `now` the registry's clock is read.
        """
        if self.state is ReservationState.TERMINAL:
            # The registry itself releases at a disconnect; the attempt's own release that follows is normal.
            level = logging.DEBUG if self.release_cause is ReleaseCause.DISCONNECT else logging.WARNING
            log.log(level, "reservation_released_twice", extra={"request_id": self.request_id, "cause": cause.value})
            return False
        self.reached = self.state
        self.state = ReservationState.TERMINAL
        self.release_cause = cause
        self._releaser(self, cause, now)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.released:
            self.release()

    def __repr__(self) -> str:
        return (
            f"<Reservation {self.request_id} attempt={self.attempt} session={self.session_id} "
            f"need={self.need} state={self.state.value}>"
        )


class LedgerSums:
    """Running totals of the reservations of one model on one session."""

    __slots__ = ("count", "fresh", "tokens", "unreflected", "unstarted")

    def __init__(
        self, count: int = 0, tokens: int = 0, unreflected: int = 0, unstarted: int = 0, fresh: int = 0
    ) -> None:
        self.count = count
        self.fresh = fresh
        """Requests taken since the last report."""
        self.tokens = tokens
        self.unreflected = unreflected
        self.unstarted = unstarted
        """Prompt tokens of requests without any content yet."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LedgerSums) and all(
            getattr(self, name) == getattr(other, name) for name in self.__slots__
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"LedgerSums{self.key()}"

    def key(self) -> tuple[int, int, int]:
        """Return (count, tokens, unreflected tokens)."""
        return (self.count, self.tokens, self.unreflected)


NO_SUMS = LedgerSums()
"""Shared answer for a model without reservations; never changed."""


class Ledger:
    """All live reservations of one session, by attempt id."""

    __slots__ = ("by_model", "ended", "entries")

    def __init__(self) -> None:
        self.entries: dict[str, Reservation] = {}
        self.by_model: dict[str, LedgerSums] = {}
        self.ended: dict[str, int] = {}
        """Requests by model that the last report counts although they ended since."""

    def __len__(self) -> int:
        return len(self.entries)

    def sums(self, model: str) -> LedgerSums:
        """Return the running totals of a model (zeros when it has no reservation)."""
        return self.by_model.get(model, NO_SUMS)

    def add(self, reservation: Reservation) -> None:
        """Enter a reservation; raises `ValueError` when its attempt id is in the ledger already."""
        if reservation.request_id in self.entries:
            raise ValueError(
                f"Attempt {reservation.request_id!r} is reserved on this session already; use a fresh id per attempt."
            )
        self.entries[reservation.request_id] = reservation
        sums = self.by_model.get(reservation.model)
        if sums is None:
            sums = self.by_model[reservation.model] = LedgerSums()
        sums.count += 1
        sums.fresh += reservation.fresh
        sums.tokens += reservation.need
        sums.unreflected += 0 if reservation.reflected else reservation.need
        sums.unstarted += 0 if reservation.started else reservation.prompt_tokens

    def remove(self, reservation: Reservation) -> bool:
        """Take a reservation out; False when it is not here."""
        if self.entries.get(reservation.request_id) is not reservation:
            return False
        del self.entries[reservation.request_id]
        sums = self.by_model[reservation.model]
        sums.count -= 1
        sums.fresh -= reservation.fresh
        sums.tokens -= reservation.need
        if not reservation.fresh:
            self.ended[reservation.model] = self.ended.get(reservation.model, 0) + 1
        if not reservation.reflected:
            sums.unreflected -= reservation.need
        if not reservation.started:
            sums.unstarted -= reservation.prompt_tokens
        if not sums.count:
            del self.by_model[reservation.model]
        return True

    def start(self, reservation: Reservation) -> None:
        """Note the first content of a reservation."""
        if not reservation.started and self.entries.get(reservation.request_id) is reservation:
            reservation.started = True
            self.by_model[reservation.model].unstarted -= reservation.prompt_tokens

    def reflect(self, as_of: float) -> bool:
        """Begin to count from a report taken at `as_of`: nothing ended since, and nothing was taken since.

        Marked are the reservations whose tokens it surely holds: those the provider showed earlier. True when anything
        changed.
        """
        marked = bool(self.ended)
        self.ended.clear()
        for reservation in self.entries.values():
            if reservation.fresh:
                reservation.fresh, marked = False, True
                self.by_model[reservation.model].fresh -= 1
            if (
                not reservation.reflected
                and reservation.first_sign_at is not None
                and reservation.first_sign_at < as_of
            ):
                reservation.reflected = marked = True
                self.by_model[reservation.model].unreflected -= reservation.need
        return marked

    def recount(self) -> dict[str, LedgerSums]:
        """Return the per-model sums computed anew, for tests and the auditor."""
        return recount(self.entries.values())


def recount(reservations: Iterable[Reservation]) -> dict[str, LedgerSums]:
    """Sum reservations by model."""
    sums: dict[str, LedgerSums] = {}
    for one in reservations:
        entry = sums.setdefault(one.model, LedgerSums())
        entry.count += 1
        entry.fresh += one.fresh
        entry.tokens += one.need
        entry.unreflected += 0 if one.reflected else one.need
        entry.unstarted += 0 if one.started else one.prompt_tokens
    return sums
