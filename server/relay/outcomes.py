"""What the registry learns from the fate of attempts: faults, speeds, lengths, shortages. Pure; `now` is passed in.

Invariant: an attempt that lost a race, and one that nobody waited for, teaches nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from server.registry.demand import Signal
from server.registry.rates import decode_tps, prefill_tps, registered_prefill_tps, static_tps, ttft_ms
from server.relay.classify import FailureKind

if TYPE_CHECKING:
    from protocol.failure import AttemptFailure
    from protocol.messages.from_provider import Usage
    from server.registry.ledger import Reservation
    from server.registry.registry import Registry
    from server.registry.request import PrefixKey
    from server.registry.state import Session

DISCONNECTED: Final = "provider_disconnected"
_NOT_LOADED: Final = "model_load"
_HIT: Final = "hit"
_LOOKED_IN_VAIN: Final = ("miss_absent", "skipped_cost")
"""Cache outcomes of a machine that keeps what it computes and had nothing of this prompt."""
_LEAST_SHARE: Final = 0.5
"""A hit of less than this share of what was expected, which is an estimate from bytes, is none."""


class OutcomeRecorder:
    """Tells the registry how attempts fare; times are seconds of the monotonic clock."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def reserved(self, reservation: Reservation, now: float) -> float | None:
        """An attempt got a machine: note what is predicted of it, and that its model is asked for.

        Returns the seconds to the first content that nine of ten such dispatches keep; None while that is not known.
        """
        registry, model = self._registry, reservation.model
        registry.demand.asked(model, now)
        if reservation.cold:
            registry.demand.note(model, Signal.COLD_DISPATCH, now)
            return None
        session = registry.session(reservation.session_id)
        raw = None if session is None else self._raw_ttft(session, reservation)
        if session is None or raw is None:
            return None
        if not reservation.cached_tokens:  # what a cached prompt takes says nothing of the next one
            registry.calibration.predicted(reservation.request_id, model, session.caps.hardware.chip_family, raw, now)
        q90 = registry.calibration.q90_ms(model, raw)
        return None if q90 is None else q90 / 1000

    def refused(self, model: str, now: float) -> None:
        """A request found no place: it waits, or was told to come back."""
        self._registry.demand.note(model, Signal.CAPACITY_REJECT, now)

    def hedged(self, model: str, primary_id: str, backup_id: str, now: float) -> None:
        """Two machines race: the time of the faster one says too little of either."""
        self._registry.calibration.forget(primary_id)
        self._registry.calibration.forget(backup_id)
        self._registry.demand.note(model, Signal.SPECULATIVE_STARTED, now)

    def hedge_won(self, model: str, now: float) -> None:
        """The backup was faster."""
        self._registry.demand.note(model, Signal.SPECULATIVE_WON, now)

    def content(
        self,
        session: Session,
        model: str,
        request_id: str,
        *,
        waited: float,
        allowance: float,
        cached_tokens: int,
        now: float,
    ) -> None:
        """First content, `waited` seconds after the dispatch, of an attempt that was allowed `allowance`.

        `cached_tokens` is what was expected to be cached: how long such a prompt takes says nothing of the others.
        """
        registry, stable_id = self._registry, session.ident.stable_id
        budget = session.slot(model).budget
        registry.faults.accepted(stable_id, model, now, advertised=budget.max if budget is not None else 0)
        registry.calibration.content(request_id, now)
        if not cached_tokens:
            registry.first_content.delivered(model, stable_id, waited, allowance, now)
        if waited > allowance:
            registry.demand.note(model, Signal.TTFT_MISS, now)

    def success(
        self, session: Session, model: str, shape: str, *, account_id: str | None, completion_tokens: int, now: float
    ) -> None:
        """A complete answer proves the pair."""
        self._registry.faults.success(session.ident.stable_id, model, shape, now)
        self._registry.machines.succeeded(session.ident.stable_id)
        self._registry.output_lengths.note(model, account_id, completion_tokens)

    def cached(
        self,
        session: Session,
        model: str,
        prefixes: tuple[PrefixKey, ...],
        usage: Usage,
        *,
        expected: int,
        now: float,
    ) -> bool:
        """A complete answer tells whether its machine held the beginning of the prompt, and that it holds it now.

        Returns whether it did. One that was `expected` to hold so many tokens and did not have half of them is believed
        only after another answer; a report that contradicts itself shows nothing.
        """
        holders, told = self._registry.holders, usage.cached_tokens
        hit = 0 < told <= usage.prompt_tokens and usage.cache_outcome == _HIT and told >= _LEAST_SHARE * expected
        if expected and not hit:
            holders.forget(model, prefixes, session.session_id)
        elif hit or (told == 0 and usage.cache_outcome in _LOOKED_IN_VAIN):
            holders.confirm(model, prefixes, session.session_id, now)
        return hit

    def failed(
        self,
        failure: AttemptFailure,
        kind: FailureKind,
        session: Session,
        model: str,
        shape: str,
        *,
        request_id: str,
        need: int,
        waited: float,
        allowance: float,
        now: float,
    ) -> None:
        """A failure before content: strikes, cooldowns, capacity signals and drains, by its health class.

        A request that is too long for the model says nothing of the machine, whatever class its failure is of.
        """
        registry, stable_id = self._registry, session.ident.stable_id
        faults = registry.faults
        registry.calibration.forget(request_id)
        if kind is FailureKind.TIMEOUT:
            self._missed(failure, session, model, shape, waited, allowance, now)
        elif kind is FailureKind.DRAINING:
            registry.mark_draining(session.session_id, now)
        elif failure.health == "capacity" and kind is not FailureKind.UNSERVABLE:
            self._capacity(failure, session, model, need, now)
        elif failure.health == "fault":
            gone = failure.reason == DISCONNECTED
            connection = session.session_id
            registry.machines.failed(stable_id)
            faults.error(stable_id, model, shape, failure.status, now, disconnect=gone, connection=connection)
        if failure.starts_load_cooldown:
            faults.load_failed(stable_id, model, now)

    def broken(self, failure: AttemptFailure, session: Session, model: str, shape: str, now: float) -> None:
        """A stream broke after content; a connection that was merely lost then is no fault."""
        if failure.health == "fault" and failure.reason != DISCONNECTED:
            self._registry.faults.error(session.ident.stable_id, model, shape, failure.status, now)
            self._registry.machines.failed(session.ident.stable_id)

    def _missed(
        self,
        failure: AttemptFailure,
        session: Session,
        model: str,
        shape: str,
        waited: float,
        allowance: float,
        now: float,
    ) -> None:
        """No content in time: whether that speaks against the machine, the deadline, or the machine's sleep."""
        registry, stable_id = self._registry, session.ident.stable_id
        registry.demand.note(model, Signal.TTFT_MISS, now)
        heard = session.live.last_heartbeat > now - waited
        if not heard:
            registry.faults.missed(stable_id, model, shape, failure.status, now)
        elif registry.first_content.missed(model, stable_id, waited, allowance, now):
            registry.machines.failed(stable_id)
            registry.faults.error(stable_id, model, shape, failure.status, now)

    def _capacity(self, failure: AttemptFailure, session: Session, model: str, need: int, now: float) -> None:
        budget = session.slot(model).budget
        self._registry.demand.note(model, Signal.CAPACITY_REJECT, now)
        self._registry.faults.capacity_rejected(
            session.ident.stable_id,
            model,
            now,
            need=need,
            committed=None if budget is None else budget.used + budget.queued,
            advertised=None if budget is None else budget.max,
            not_loaded=failure.reason == _NOT_LOADED,
        )

    def _raw_ttft(self, session: Session, reservation: Reservation) -> float | None:
        """The uncalibrated estimate in ms, as of before this reservation."""
        model, policy = reservation.model, self._registry.policy
        slot, static = session.slot(model), static_tps(session.caps)
        median = self._registry.rates.decode_median(model, session.caps.hardware.chip_family)
        return ttft_ms(
            slot,
            prompt_tokens=reservation.prompt_tokens,
            ledger_count=max(0, session.ledger.sums(model).count - 1),
            prefill=prefill_tps(slot, registered_prefill_tps(session.caps, static, policy)),
            tps=decode_tps(slot, static, median, policy.load_factor),
            has_capacity=session.live.has_capacity,
        )
