"""The figures of a run: what was served, how fast, how fairly, and what it cost."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from server.sim.faults import absences
from server.sim.perfect import perfect
from server.sim.statistics import gini, jain, percentile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from server.sim.simulation import Run
    from server.sim.tally import JobResult

DIGITS: Final = 6


class Spread(Struct, frozen=True):
    """Percentiles of one figure; None when nothing was seen."""

    count: int
    p50: float | None
    p90: float | None
    p99: float | None
    highest: float | None


class Report(Struct, frozen=True, kw_only=True):
    """One run in figures: a function of its input alone.

    A job is what a client wants, with all its tries; a call is one HTTP request. Times in ms or seconds as named,
    shares 0..1; `utilisation` is that of the time until the last arrival. `goodput` counts answers that meet the goal,
    per second of the run; `perfect_share` compares their number with the bound of `server.sim.perfect`.
    """

    scenario: str
    seed: int
    digest: str
    seconds: float
    machines: int
    jobs: int
    calls: int
    served: int
    served_share: float
    accepted_share: float
    unfinished: int
    """Jobs that had neither an answer nor an end when the run was over."""
    good: int
    goodput_per_second: float
    perfect_good: int
    perfect_share: float
    offered_load: float
    ttft_ms: Spread
    last_ttft_ms: Spread
    end_to_end_ms: Spread
    decode_tps_p10: float | None
    queue_wait_seconds: Spread
    queue_wait_in_vain_seconds: Spread
    jobs_lost: Mapping[str, int]
    refusals: Mapping[str, int]
    statuses: Mapping[str, int]
    attempts: int
    attempts_failed: Mapping[str, int]
    attempts_per_call: float
    hedges: int
    hedges_won: int
    hedge_verdicts: Mapping[str, int]
    tokens: int
    wasted_tokens: int
    """Tokens read or generated for attempts that were cancelled."""
    wasted_share: float
    hedge_wasted_tokens: int
    utilisation: float
    utilisation_gini: float | None
    fairness: float | None
    loads: int
    thrash: int
    unused_loads: int
    prefix_hit_share: float | None
    cache_routed: int
    """Answers of machines that were chosen for the beginning of a prompt."""
    cache_precision: float | None
    """The share of these that still held it."""
    prediction_ratio: Spread
    eligible_least: int
    eligible_share_least: float
    routable_after_seconds: Spread
    events: int
    steps: int


def make_report(run: Run) -> Report:
    """Work the figures out."""
    setup, tally, jobs = run.setup, run.tally, run.tally.jobs
    served = [job for job in jobs if job.served]
    good = sum(job.is_good(setup.goal) for job in jobs)
    calls = sum(job.tries for job in jobs)
    bound = perfect(
        setup.arrivals,
        setup.machines,
        {model.id: model for model in setup.models},
        setup.goal,
        absences=absences(setup.events, run.seconds),
    )
    engines = [provider.engine for provider in run.providers]
    busy = [seconds / max(1.0, setup.trace_seconds) for seconds in run.busy_seconds]
    tokens = sum(job.prompt + job.tokens for job in served)
    wasted = sum(engine.wasted_tokens for engine in engines)
    tries = sum(engine.prefix_tries for engine in engines)
    eligible = [sample.eligible for sample in run.samples if sample.at <= setup.trace_seconds]
    return Report(
        scenario=setup.name,
        seed=setup.seed,
        digest=run.digest,
        seconds=_round(run.seconds),
        machines=len(run.providers),
        jobs=len(setup.arrivals),
        calls=calls,
        served=len(served),
        served_share=_share(len(served), len(setup.arrivals)),
        accepted_share=_share(calls - sum(tally.refusals.values()), calls),
        unfinished=len(setup.arrivals) - len(jobs),
        good=good,
        goodput_per_second=_round(good / run.seconds),
        perfect_good=bound.good,
        perfect_share=_share(good, bound.good),
        offered_load=_round(bound.offered_load),
        ttft_ms=spread(job.ttft_ms for job in served),
        last_ttft_ms=spread(job.last_ttft_ms for job in served),
        end_to_end_ms=spread(1000 * (job.ended_at - job.started_at) for job in served),
        decode_tps_p10=_rounded(percentile(sorted(_speeds(served)), 0.1)),
        queue_wait_seconds=spread(tally.waits),
        queue_wait_in_vain_seconds=spread(tally.waits_in_vain),
        jobs_lost=_counted(Counter(job.why for job in jobs if not job.served)),
        refusals=_counted(tally.refusals),
        statuses=_counted(Counter({str(status): count for status, count in tally.statuses.items()})),
        attempts=tally.attempts,
        attempts_failed=_counted(tally.failures),
        attempts_per_call=_share(tally.attempts, calls),
        hedges=tally.hedges,
        hedges_won=tally.hedges_won,
        hedge_verdicts=_counted(tally.hedge_verdicts),
        tokens=tokens,
        wasted_tokens=wasted,
        wasted_share=_share(wasted, tokens + wasted),
        hedge_wasted_tokens=sum(engine.lost_tokens for engine in engines),
        utilisation=_round(sum(busy) / len(busy)),
        utilisation_gini=_rounded(gini(busy)),
        fairness=_rounded(jain(_satisfaction(jobs))),
        loads=sum(engine.loads for engine in engines),
        thrash=sum(engine.thrashed for engine in engines),
        unused_loads=sum(engine.unused_loads for engine in engines),
        prefix_hit_share=_share(sum(engine.prefix_hits for engine in engines), tries) if tries else None,
        cache_routed=tally.cache_hits + tally.cache_misses,
        cache_precision=_share(tally.cache_hits, tally.cache_hits + tally.cache_misses)
        if tally.cache_hits + tally.cache_misses
        else None,
        prediction_ratio=spread(tally.prediction_ratios),
        eligible_least=min(eligible, default=0),
        eligible_share_least=_share(min(eligible, default=0), len(run.providers)),
        routable_after_seconds=spread(value for provider in run.providers for value in provider.routable_after),
        events=run.events_logged,
        steps=run.steps,
    )


def spread(values: Iterable[float | None]) -> Spread:
    """Percentiles of the values that exist."""
    ordered = sorted(value for value in values if value is not None)
    return Spread(
        count=len(ordered),
        p50=_rounded(percentile(ordered, 0.5)),
        p90=_rounded(percentile(ordered, 0.9)),
        p99=_rounded(percentile(ordered, 0.99)),
        highest=_rounded(ordered[-1] if ordered else None),
    )


def _speeds(served: Iterable[JobResult]) -> list[float]:
    return [speed for job in served if (speed := job.decode_tps) is not None]


def _satisfaction(jobs: Iterable[JobResult]) -> list[float]:
    """For every account, the share of the tokens it wanted that it got."""
    wanted: dict[str, int] = {}
    got: dict[str, int] = {}
    for job in jobs:
        if job.account is not None:
            wanted[job.account] = wanted.get(job.account, 0) + job.wanted
            got[job.account] = got.get(job.account, 0) + job.tokens
    return [got[account] / wanted[account] for account in wanted]


def _counted(counter: Counter[str]) -> dict[str, int]:
    return {name: counter[name] for name in sorted(counter)}


def _share(part: float, whole: float) -> float:
    return _round(part / whole) if whole else 0.0


def _round(value: float) -> float:
    return round(value, DIGITS)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
