"""Keeps enough machines warm for what is asked: reads pressure, sets targets, orders loads. Pure; `now` is passed in.

Each round every model gets its target: what it needs now, or what it will need when loads that begin now have ended.
All loads of a round get their machines in one assignment. Nothing is ever unloaded from here: providers let go of what
is idle themselves.
Source: routing, warm-pool controller.
"""

from __future__ import annotations

from collections import Counter
from statistics import median
from time import time
from typing import TYPE_CHECKING, Final

from msgspec import Struct, structs

from server.pool.candidates import ColdSurvey, cold_machines
from server.pool.forecast import Forecast
from server.pool.sizing import (
    Load,
    has_pressure,
    loads_this_round,
    offered_load,
    places_per_machine,
    service_seconds,
    target_warm,
)
from server.pool.summary import summarise
from server.pool.swap_planner import pending_by_model
from server.pool.turns import PART, Turns
from server.pool.wishes import Wish, order_loads
from server.registry.loads import LoadOutcome
from server.registry.rates import ewma
from server.registry.state import LoadCause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from server.pool.fleet_reader import FleetReader
    from server.pool.swap_planner import LoadOrder
    from server.pool.turns import Turn
    from server.registry.demand import Signal
    from server.registry.state import Session

SPILL_ALPHA: Final = 0.3
DEAR: Final = 4.0
"""So many times the middle price of a round a model counts at most, and so many times less at least."""
NO_SURVEY: Final = ColdSurvey([], Counter())


class PoolPolicy(Struct, frozen=True, kw_only=True):
    """Numbers of the controller; durations in seconds. `floors` are warm machines by model that are always wanted.

    `max_loads` of a small gap are loaded at once, `gap_fraction` of a large one, never more than `ceiling` in a round
    nor `max_pending` at the same time; 0 for either orders nothing. `observe_only` does all but order. With `forecast`
    the controller learns what each hour of the week needs, and has it ready.
    """

    enabled: bool = True
    observe_only: bool = False
    interval: float = 10.0
    min_dwell: float = 300.0
    max_loads: int = 4
    ceiling: int = 16
    gap_fraction: float = 0.5
    max_pending: int = 16
    forecast: bool = True
    floors: Mapping[str, int] = {}


class PoolSnapshot(Struct, frozen=True, kw_only=True):
    """What one round saw and decided for one model.

    `wanted` is what it needs now, `foreseen` what it will need soon; `target` is the larger one, where a higher need is
    held on to for a while. `eligible_cold` and `disqualified` are those of a round that surveyed machines for it.
    """

    model: str
    target: int
    wanted: int
    foreseen: int
    warm: int
    pending: int
    eligible_cold: int
    queued: int
    oldest_age: float
    counters: Mapping[Signal, float]
    load: float
    service_seconds: float
    places: int
    loads: int = 0
    disqualified: Mapping[str, int] = {}


class PoolRound(Struct, frozen=True):
    """The snapshots of all models, and the loads to order."""

    snapshots: tuple[PoolSnapshot, ...]
    orders: tuple[LoadOrder, ...]


def _worth(prices: Sequence[float]) -> list[float]:
    """Prices as shares of the middle one, within bounds."""
    middle = median(prices) if prices else 0.0
    return [min(DEAR, max(1 / DEAR, price / middle)) if middle > 0 else 1.0 for price in prices]


def equal_price(_model: str) -> float:
    """The price where prices do not matter."""
    return 1.0


class _Held:
    """What is remembered of a model between rounds."""

    __slots__ = ("raised_at", "spill", "spilled_at", "target")

    def __init__(self, now: float) -> None:
        self.target = 0
        self.raised_at = now
        self.spill: float | None = None
        self.spilled_at: float | None = None


class _View(Struct):
    """One model in the making of a round; `missing` machines are needed now, the rest of the `gap` soon."""

    snapshot: PoolSnapshot
    cold: ColdSurvey
    missing: int
    gap: int


class WarmPool:
    """The controller of all models; `wall_clock` gives seconds since the epoch."""

    def __init__(self, policy: PoolPolicy, fleet: FleetReader, wall_clock: Callable[[], float] = time) -> None:
        self.policy = policy
        self._fleet = fleet
        self._forecast = Forecast(fleet, wall_clock)
        self._turns = Turns()
        self._held: dict[str, _Held] = {}

    def tick(self, now: float, price: Callable[[str], float] = equal_price) -> PoolRound:
        """Look at every model that somebody asks for, or will soon, and order loads; only the demand learns from it.

        `price` gives what a model's output costs, in any unit: of two that wait as long the dearer one comes first.
        It counts `DEAR` times at most against the middle one of the round, so that cheap models are not forgotten.
        """
        foreseen = self._foreseen(now)
        asked = {*self._fleet.queued_models(), *self._fleet.demand.models()}
        names = asked | self.policy.floors.keys() | foreseen.keys()
        self._held = {name: held for name, held in self._held.items() if name in names}
        pending = pending_by_model(self._fleet.sessions(), now)
        room = self._room(pending)
        turn = self._turn(foreseen, pending, now) if room else None
        views = [self._view(name, foreseen.get(name, 0), pending[name], turn, now) for name in sorted(names)]
        worth = _worth([price(view.snapshot.model) for view in views])
        wishes = (wish for view, value in zip(views, worth, strict=True) for wish in self._wishes(view, value))
        orders = order_loads(wishes, room)
        loads = Counter(order.model for order in orders)
        if turn is not None:
            turn.end(now, found=loads[turn.model] > 0, offering=len(self._fleet.offering(turn.model)))
        snapshots = [structs.replace(view.snapshot, loads=loads[view.snapshot.model]) for view in views]
        return PoolRound(tuple(snapshots), () if self.policy.observe_only else tuple(orders))

    def load_answered(self, session: Session, model: str, outcome: LoadOutcome) -> None:
        """Take the answer to a load: what is foreseen is not tried again and again in vain."""
        intent = session.loads.get(model)
        if outcome is LoadOutcome.SUCCEEDED:
            self._forecast.load_succeeded(model)
        elif outcome is LoadOutcome.FAILED and intent is not None and intent.cause is LoadCause.FORECAST:
            self._forecast.load_failed(model)

    def _foreseen(self, now: float) -> dict[str, int]:
        if not self.policy.forecast:
            return {}
        self._forecast.learn(now)
        return self._forecast.foreseen()

    def _turn(self, foreseen: Mapping[str, int], pending: Counter[str], now: float) -> Turn | None:
        """Choose the model that may look for machines for what is foreseen this round."""
        self._turns.keep(foreseen)
        pools = ((model, self._fleet.pool(model)) for model in foreseen)
        ready = {model: pending[model] + (pool.warm if pool is not None else 0) for model, pool in pools}
        return self._turns.next((model for model in foreseen if foreseen[model] > ready[model]), now)

    def _view(self, model: str, foreseen: int, pending: int, turn: Turn | None, now: float) -> _View:
        fleet, policy = self._fleet, self.policy
        found = summarise(model, fleet)
        queued = fleet.queue_depth(model)
        counts = self._fleet.demand.read(model, now)
        held = self._held.setdefault(model, _Held(now))
        load = Load(found.running, found.waiting, queued, self._spill(model, held, now))
        service = service_seconds(found.prefill_tps, found.decode_tps)
        places = places_per_machine(found.cap, found.decode_tps, found.load_factor)
        offered = offered_load(load, service)
        pressure = has_pressure(counts, queued=queued, saturated=found.saturated, warm=found.warm)
        floor = policy.floors.get(model, 0)
        urgent = pressure or floor > found.warm
        cold = NO_SURVEY
        if urgent:
            cold = cold_machines(fleet, model, now)
        elif turn is not None and turn.model == model:
            cold = cold_machines(fleet, model, now, start=turn.start, limit=PART)
        wanted = target_warm(
            offered=offered,
            places=places,
            warm=found.warm,
            eligible_cold=len(cold.machines),
            pressure=pressure,
            floor=floor,
        )
        target = self._hold_on(held, wanted, now)
        prepared = found.warm + pending
        ahead = min(foreseen, prepared + sum(not one.evicts for one in cold.machines))
        snapshot = PoolSnapshot(
            model=model,
            target=max(target, foreseen),
            wanted=wanted,
            foreseen=foreseen,
            warm=found.warm,
            pending=pending,
            eligible_cold=len(cold.machines),
            queued=queued,
            oldest_age=fleet.queue_oldest_age(model, now),
            counters=counts,
            load=offered,
            service_seconds=service,
            places=places,
            disqualified=cold.disqualified,
        )
        missing = max(0, target - prepared) if urgent else 0
        return _View(snapshot, cold, missing, max(missing, ahead - prepared))

    def _spill(self, model: str, held: _Held, now: float) -> float:
        """Arrivals per second that found no warm place, smoothed over the rounds."""
        spilled = self._fleet.demand.take_spilled(model)
        before, held.spilled_at = held.spilled_at, now
        if before is not None and now > before:
            held.spill = ewma(held.spill, spilled / (now - before), SPILL_ALPHA)
        return held.spill or 0.0

    def _hold_on(self, held: _Held, wanted: int, now: float) -> int:
        """Keep a higher target for a while: a lull is no reason to forget what was needed a minute ago."""
        if wanted >= held.target or now - held.raised_at >= self.policy.min_dwell:
            held.target, held.raised_at = wanted, now
        return held.target

    def _wishes(self, view: _View, worth: float) -> Iterator[Wish]:
        """The loads that a model would like this round, the most urgent first.

        What it will need soon comes after all that is needed now, and no other model makes room for it.
        """
        policy, snapshot = self.policy, view.snapshot
        share = loads_this_round(view.gap, ceiling=policy.ceiling, at_least=policy.max_loads, share=policy.gap_fraction)
        roomy = [one for one in view.cold.machines if not one.evicts]
        for number in range(min(share, len(view.cold.machines))):
            is_foreseen = number >= view.missing
            machines = roomy if is_foreseen else view.cold.machines
            urgency = (view.gap - number) * (1.0 + snapshot.oldest_age) * worth
            yield Wish(is_foreseen, -urgency, snapshot.model, machines)

    def _room(self, pending: Counter[str]) -> int:
        """How many more loads may be under way."""
        return max(0, self.policy.max_pending - pending.total()) if self.policy.max_loads > 0 else 0
