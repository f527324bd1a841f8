"""Choose and commit: the one path by which a request gets a place on a provider, free of checkpoints.

Invariant: a reservation is entered in the same synchronous call in which every gate was found to pass on the session's
present record, so caps and budgets hold at every commit, whoever proposed the provider.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import structs

from server.registry.affinity import Affinity
from server.registry.decision import Candidate, ChoicePath, Decision
from server.registry.gates import evaluate, hard_deadline_us
from server.registry.least_loaded import LeastLoadedSearch
from server.registry.ledger import Reservation
from server.registry.price import candidate, priced_tokens
from server.registry.reasons import Reason
from server.registry.request import SelfRoute
from server.registry.select import choose, narrow
from server.registry.state import SlotState
from server.registry.traces import Rival
from server.registry.ttft import estimate_ttft
from server.registry.two_choices import TwoChoicesSearch
from server.registry.views import owned_by
from server.registry.walk import only_health, scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from random import Random

    from server.registry.entry import Entry
    from server.registry.gates import GateContext
    from server.registry.holders import Holders
    from server.registry.index import RoutingIndex
    from server.registry.ledger import ReleaseCause
    from server.registry.pool import Pool
    from server.registry.request import RoutedRequest
    from server.registry.roster import Roster
    from server.registry.search import Search
    from server.registry.state import Session
    from server.registry.walk import Scan

    Releaser = Callable[[Reservation, ReleaseCause, float | None], None]


RIVALS: Final = 5
"""So many of the cheapest providers are named to whoever asks why."""
_SEARCHES: Final[Mapping[str, type[Search]]] = {"v1": LeastLoadedSearch, "v2": TwoChoicesSearch}
_NO_STAGES: Final[tuple[tuple[Candidate, ...], ...]] = ((), (), (), ())


class Chooser:
    """Chooses and reserves over the index; `sessions` are the live sessions by id, `releaser` ends a reservation."""

    def __init__(
        self,
        sessions: Mapping[str, Session],
        index: RoutingIndex,
        roster: Roster,
        holders: Holders,
        *,
        random: Random,
        releaser: Releaser,
    ) -> None:
        self._sessions = sessions
        self._index = index
        self._roster = roster
        self._affinity = Affinity(sessions, holders)
        self._random = random
        self._releaser = releaser

    def choose(self, request: RoutedRequest, context: GateContext, now: float) -> Decision:
        """Pick the best provider and reserve it; the decision says why when nothing was reserved."""
        self._index.advance(now)
        if request.self_route is not SelfRoute.OFF or request.allowed_serials is not None:
            named = self._named(request)
            found = scan(named, request, context, now)
            if found.candidates or request.self_route is not SelfRoute.PREFER:
                return self._from_walk(found, request, context, now)
        pool = self._index.pool(request.model)
        if pool is None:
            return Decision(request_id=request.request_id, model=request.model)
        return self._from_index(pool, request, context, now)

    def commit(
        self, session: Session, request: RoutedRequest, context: GateContext, now: float
    ) -> Reservation | Reason:
        """Test every gate and enter the reservation, or return the reason why not."""
        self._index.advance(now)
        reason = evaluate(session, request, context, now)
        return self._enter(session, request, context, now) if reason is None else reason

    def rivals(self, request: RoutedRequest, context: GateContext, now: float) -> tuple[Rival, ...]:
        """Name the cheapest providers that a public request could have now."""
        self._index.advance(now)
        pool = self._index.pool(request.model)
        if pool is None:
            return ()
        search, _ = self._prepare(pool, request, context)
        for usable in pool.kinds.plan(request.traits, request.avoid_version):
            found = search.cheapest(usable, RIVALS) if usable else []
            if found:
                return tuple(
                    Rival(
                        provider_id=entry.session.session_id,
                        cost_ms=cost / 1000,
                        occupancy=entry.occupancy,
                        pending=entry.pending,
                        estimated_ttft_ms=estimate_ttft(entry.session, request, context),
                    )
                    for cost, entry in found
                )
        return ()

    # A few named providers

    def _named(self, request: RoutedRequest) -> list[Session]:
        """Return the sessions that a personal request may use at all: it names its own machines, or their serials."""
        if request.self_route is SelfRoute.OFF and request.allowed_serials is not None:
            named: Iterable[Session] = self._roster.with_serials(request.allowed_serials)
        else:
            named = self._roster.owned(request.account_id)
        return [session for session in named if request.model in session.caps.models]

    def _from_walk(self, found: Scan, request: RoutedRequest, context: GateContext, now: float) -> Decision:
        if found.fail_open:
            context = context.without_health()
        pool = self._index.pool(request.model)
        size = pool.size if pool is not None else 0
        rejections = dict(found.rejections)
        if size > found.scanned:
            rejections[Reason.ALLOWLIST] = rejections.get(Reason.ALLOWLIST, 0) + size - found.scanned
        narrowed = narrow(found.candidates, request, context.policy)
        choice = choose(
            narrowed,
            self._random,
            expected=context.policy.cost_model == "v2",
            doubtful=context.estimates.doubtful,
        )
        if choice is None:
            return _nothing(request, rejections, size, fail_open=found.fail_open)
        return self._decided(
            choice.winner, request, context, now, choice.path, choice.equal, scanned=size, fail_open=found.fail_open
        )

    # The whole fleet

    def _from_index(self, pool: Pool, request: RoutedRequest, context: GateContext, now: float) -> Decision:
        withheld = self._withhold(pool, request) if request.excluded_sessions else ()
        try:
            decision = self._search(pool, request, context, now, ignore_health=context.ignore_health)
            if decision.reservation is None and only_health(decision.rejections):
                decision = self._search(pool, request, context.without_health(), now, ignore_health=True)
            return decision
        finally:
            for entry in withheld:
                pool.settle(entry, context)

    def _withhold(self, pool: Pool, request: RoutedRequest) -> list[Entry]:
        """Take the excluded sessions out of the lists for the length of one decision."""
        found = []
        for session_id in request.excluded_sessions:
            session = self._sessions.get(session_id)
            entry = session.entries.get(request.model) if session is not None else None
            if entry is not None and pool.withhold(entry):
                found.append(entry)
        return found

    def _search(
        self, pool: Pool, request: RoutedRequest, context: GateContext, now: float, *, ignore_health: bool
    ) -> Decision:
        search, priced = self._prepare(pool, request, context)
        own = self._private(request) if self._roster.owned(request.account_id) else ()
        extra = self._extra(pool, own, request, context, now) if own or pool.open_backlogs else ()
        staged = _staged(extra, request, context) if extra else _NO_STAGES
        plan = pool.kinds.plan(request.traits, request.avoid_version, ignore_health=ignore_health)
        for usable, some in zip(plan, staged, strict=True):
            if not usable and not some:
                continue
            found = search.choose(usable, some, self._random)
            if found is None:
                continue
            winner, path, equal = found
            if request.prefixes:
                held = self._affinity.better(winner, search, usable, request, priced, context.policy, now)
                if held is not None:
                    winner, path, equal = held.candidate(request, priced), ChoicePath.CACHED, 1
            if not isinstance(winner, Candidate):
                owned = owned_by(winner.session, request.account_id)
                winner = winner.candidate(request.prompt_tokens, priced, owned=owned)
            return self._decided(
                winner, request, context, now, path, equal, scanned=len(pool.members), fail_open=ignore_health
            )
        rejections = self._rejections(pool, request, context, now, ignore_health=ignore_health)
        late = search.best_ttft_us(request.prompt_tokens) if Reason.TTFT_CEILING in rejections else None
        nothing = _nothing(request, rejections, pool.size, fail_open=ignore_health)
        return nothing if late is None else structs.replace(nothing, best_ttft_ms=late / 1000)

    def _prepare(self, pool: Pool, request: RoutedRequest, context: GateContext) -> tuple[Search, tuple[int, int]]:
        priced = priced_tokens(request, context)
        build = _SEARCHES[context.policy.cost_model]
        deadline, doubtful = hard_deadline_us(request, context.policy), context.estimates.doubtful
        return build(pool, priced, request.need, request.prompt_tokens, deadline, doubtful), priced

    def _extra(
        self, pool: Pool, own: Sequence[Session], request: RoutedRequest, context: GateContext, now: float
    ) -> list[Candidate]:
        """Price what the lists do not hold: the caller's private machines, and backlogs that depend on the request."""
        sessions = [*(entry.session for entry in pool.open_backlogs.values()), *own]
        return [
            candidate(one, request, context, now) for one in sessions if evaluate(one, request, context, now) is None
        ]

    def _private(self, request: RoutedRequest) -> list[Session]:
        owned = self._roster.owned(request.account_id)
        return [one for one in owned if one.caps.private_only and request.model in one.caps.models]

    def _rejections(
        self, pool: Pool, request: RoutedRequest, context: GateContext, now: float, *, ignore_health: bool
    ) -> dict[Reason, int]:
        """Count everyone by the first gate against this request, from the running counts."""
        tally = pool.tally(request.traits, ignore_health=ignore_health)
        counts = {reason: count for reason, count in tally.items() if reason is not None}
        short = tally.get(None, 0)
        preferred = request.self_route is SelfRoute.PREFER
        personal = {one.session_id: one for one in (self._named(request) if preferred else self._private(request))}
        personal |= {one: self._sessions[one] for one in request.excluded_sessions if one in self._sessions}
        for session in personal.values():
            entry = session.entries.get(request.model)
            if entry is None or entry.kind is None:
                continue
            counted = entry.kind.rejection(request.traits, ignore_health=ignore_health)
            if counted is None:
                short -= 1
            else:
                counts[counted] -= 1
            actual = evaluate(session, request, context, now)
            if actual is not None:
                counts[actual] = counts.get(actual, 0) + 1
        if hard_deadline_us(request, context.policy) is not None:
            late = pool.with_room(request.need, request.traits, ignore_health=ignore_health)
            counts[Reason.TTFT_CEILING] = counts.get(Reason.TTFT_CEILING, 0) + late
            short -= late
        counts[Reason.FREE_MEMORY] = counts.get(Reason.FREE_MEMORY, 0) + short
        return {reason: count for reason, count in counts.items() if count}

    # Commit

    def _decided(
        self,
        winner: Candidate,
        request: RoutedRequest,
        context: GateContext,
        now: float,
        path: ChoicePath,
        equal: int,
        *,
        scanned: int,
        fail_open: bool,
    ) -> Decision:
        deadline = context.policy.first_content_deadline_ms(request.prompt_tokens)
        return Decision(
            request_id=request.request_id,
            model=request.model,
            reservation=self._enter(winner.session, request, context, now, winner.cached_tokens),
            winner=winner,
            path=path,
            equal=equal,
            scanned=scanned,
            ttft_miss=winner.ttft_ms is not None and winner.ttft_ms > deadline,
            fail_open=fail_open,
        )

    def _enter(
        self, session: Session, request: RoutedRequest, context: GateContext, now: float, cached_tokens: int = 0
    ) -> Reservation:
        slot = session.slot(request.model)
        reservation = Reservation(
            request_id=request.request_id,
            logical_id=request.logical_id,
            attempt=request.attempt,
            session_id=session.session_id,
            model=request.model,
            prompt_tokens=request.prompt_tokens,
            max_tokens=request.max_tokens,
            kv_rate=slot.kv_rate,
            reserved_at=now,
            cold=slot.state is not SlotState.RESIDENT,
            cached_tokens=cached_tokens,
            releaser=self._releaser,
        )
        session.ledger.add(reservation)
        session.touch()
        if session.entries[request.model].faults.probe:
            context.faults.probe_taken(session.ident.stable_id, request.model, now)
        self._index.refresh(session, now)
        return reservation


def _staged(extra: Sequence[Candidate], request: RoutedRequest, context: GateContext) -> list[Sequence[Candidate]]:
    """Sort extra candidates into the stages of a plan: other versions first, fast ones first."""
    floor, avoid = context.policy.min_decode_tps, request.avoid_version
    stages: list[Sequence[Candidate]] = []
    for avoided in (False, True):
        some = [one for one in extra if (avoid is not None and one.session.caps.version == avoid) is avoided]
        for slow in (False, True):
            stages.append([one for one in some if (floor > 0 and one.projected_tps < floor) is slow])
    return stages


def _nothing(request: RoutedRequest, rejections: Mapping[Reason, int], scanned: int, *, fail_open: bool) -> Decision:
    return Decision(
        request_id=request.request_id,
        model=request.model,
        scanned=scanned,
        rejections=rejections,
        fail_open=fail_open,
    )


def looked(found: Scan, request: RoutedRequest) -> Decision:
    """Build the record of a walk that reserved nothing."""
    estimates = [one.ttft_ms for one in found.candidates if one.ttft_ms is not None]
    return Decision(
        request_id=request.request_id,
        model=request.model,
        candidates=len(found.candidates),
        scanned=found.scanned,
        rejections=found.rejections,
        best_ttft_ms=min(estimates, default=None),
        has_ttft=bool(found.candidates) and len(estimates) == len(found.candidates),
        fail_open=found.fail_open,
    )
