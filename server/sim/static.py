"""Static mode: which requests of a trace a fleet could take as it is, with no time passing and no capacity used up.

It answers one question quickly: from which prompt size on does nobody answer in time? Gates, admission and estimates
are the router's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from server.registry import Reason
from server.registry.request import PLAIN, RoutedRequest, Traits
from server.sim.simulation import World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.registry import Decision, RoutingPolicy
    from server.sim.simulation import Policy, Setup
    from server.sim.trace import Arrival

BUCKETS: Final = ((0, 500), (500, 750), (750, 1_000), (1_000, 2_000), (2_000, 4_000), (4_000, None))
OUTCOMES: Final = ("served", "machine_busy", "ttft_too_slow", "no_provider", "model_too_large")


class Bucket(Struct, frozen=True):
    """Requests with `low` to `high` prompt tokens, and what would become of them (shares of the bucket)."""

    low: int
    high: int | None
    count: int
    accept_rate: float
    ttft_reject_rate: float


class StaticReport(Struct, frozen=True):
    """`cliff` is the smallest prompt at which, in order of size, requests turn from served to too slow; 0 if none."""

    scenario: str
    machines: int
    counts: dict[str, int]
    buckets: tuple[Bucket, ...]
    cliff: int


def static_report(setup: Setup, policy: Policy) -> StaticReport:
    """Ask the router about every request of the trace, with the fleet at rest."""
    world = World(setup, policy)
    now = world.settle()
    outcomes = [
        (arrival, classify(world.registry.look(_request(arrival, number), now), arrival, policy.routing))
        for number, arrival in enumerate(setup.arrivals)
    ]
    return StaticReport(
        scenario=setup.name,
        machines=len(setup.machines),
        counts={name: sum(outcome == name for _, outcome in outcomes) for name in OUTCOMES},
        buckets=tuple(_bucket(low, high, outcomes) for low, high in BUCKETS),
        cliff=cliff([(arrival.prompt, outcome) for arrival, outcome in outcomes]),
    )


def classify(decision: Decision, arrival: Arrival, policy: RoutingPolicy) -> str:
    """Name what would become of a request: one of `OUTCOMES`."""
    if decision.candidates:
        deadline = policy.first_content_deadline_ms(arrival.prompt)
        best = decision.best_ttft_ms
        return "ttft_too_slow" if decision.has_ttft and best is not None and best > deadline else "served"
    if decision.rejected(Reason.TTFT_CEILING):
        return "ttft_too_slow"
    if decision.capacity_rejections:
        return "machine_busy"
    return "model_too_large" if decision.rejected(Reason.MODEL_TOO_LARGE) else "no_provider"


def cliff(outcomes: Sequence[tuple[int, str]]) -> int:
    """The smallest prompt, in order of size, at which a served run turns into `ttft_too_slow`; 0 if there is none."""
    served = False
    for prompt, outcome in sorted(outcomes):
        if outcome == "served":
            served = True
        elif outcome == "ttft_too_slow" and served:
            return prompt
    return 0


def _bucket(low: int, high: int | None, outcomes: Sequence[tuple[Arrival, str]]) -> Bucket:
    inside = [
        outcome for arrival, outcome in outcomes if low <= arrival.prompt and (high is None or arrival.prompt < high)
    ]
    count = len(inside)
    return Bucket(
        low=low,
        high=high,
        count=count,
        accept_rate=round(inside.count("served") / count, 6) if count else 0.0,
        ttft_reject_rate=round(inside.count("ttft_too_slow") / count, 6) if count else 0.0,
    )


def _request(arrival: Arrival, number: int) -> RoutedRequest:
    return RoutedRequest(
        request_id=f"s{number}",
        logical_id=f"s{number}",
        model=arrival.model,
        prompt_tokens=arrival.prompt,
        max_tokens=arrival.max_tokens,
        account_id=arrival.account,
        traits=Traits(has_tools=True) if arrival.tools else PLAIN,
    )
