"""Choosing among the providers that passed every gate: narrow the pool, then lowest cost with fair near ties.

This is the choice over a list; `least_loaded` and `two_choices` make the same one over the routing index.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final, TypeVar

from msgspec import Struct

from server.registry.decision import Candidate, ChoicePath
from server.registry.request import SelfRoute

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from server.registry.entry import Entry
    from server.registry.policy import RoutingPolicy
    from server.registry.request import RoutedRequest

Weighed = TypeVar("Weighed", bound="Candidate | Entry")

NEAR_TIE_US: Final = 3_000_000
EXPECTED_TIE_US: Final = 100_000
EXPECTED_TIE_PERCENT: Final = 3

_COST: Final = attrgetter("cost_us")


class Choice(Struct, frozen=True):
    """The winner, the way it was found, and how many were equal to it."""

    winner: Candidate
    path: ChoicePath
    equal: int = 1


def near_limit_us(best: int) -> int:
    """Return the highest cost that counts as equal to the best with cost v1: 3 s above it."""
    return best + NEAR_TIE_US


def expected_limit_us(best: int) -> int:
    """The same for cost v2: 3 % above the best, and at least 100 ms."""
    return best + max(EXPECTED_TIE_US, best * EXPECTED_TIE_PERCENT // 100)


def narrow(pool: Sequence[Candidate], request: RoutedRequest, policy: RoutingPolicy) -> Sequence[Candidate]:
    """Keep owned machines (prefer mode), then other versions than the failed one, then fast enough ones.

    A step that would leave nothing is not applied.
    """
    if request.self_route is SelfRoute.PREFER:
        pool = [one for one in pool if one.owned] or pool
    if request.avoid_version is not None:
        pool = [one for one in pool if one.session.caps.version != request.avoid_version] or pool
    if policy.min_decode_tps > 0:
        pool = [one for one in pool if one.projected_tps >= policy.min_decode_tps] or pool
    return pool


def near_ties(pool: Sequence[Candidate], *, expected: bool = False) -> list[Candidate]:
    """Return the candidates whose cost counts as equal to the lowest."""
    best = min(pool, key=_COST).cost_us
    limit = expected_limit_us(best) if expected else near_limit_us(best)
    return [one for one in pool if one.cost_us <= limit]


def equals(near: Sequence[Candidate]) -> tuple[list[Candidate], ChoicePath]:
    """Return those of the near ties that only chance decides between, and which comparison left them.

    The least occupied win, then those with the fewest reservations.
    """
    if len(near) == 1:
        return list(near), ChoicePath.UNIQUE_MIN
    occupancy = min(one.occupancy for one in near)
    calm = [one for one in near if one.occupancy == occupancy]
    if len(calm) == 1:
        return calm, ChoicePath.TIE_QUEUE
    pending = min(one.pending for one in calm)
    equal = [one for one in calm if one.pending == pending]
    return equal, ChoicePath.TIE_PENDING if len(equal) == 1 else ChoicePath.RANDOM


def choose(
    pool: Sequence[Candidate],
    random: Random,
    *,
    expected: bool = False,
    doubtful: Callable[[str], bool] | None = None,
) -> Choice | None:
    """Pick from the pool in two passes, so that the order of iteration never matters; None for an empty pool.

    `expected` is the choice of cost v2, the better of two random near ties; see `better_of` for the rest.
    """
    if not pool:
        return None
    near = near_ties(pool, expected=expected)
    if expected:
        return _better_of_two(near, random, doubtful)
    equal, path = equals(near)
    winner = equal[int(random.random() * len(equal))] if len(equal) > 1 else equal[0]
    return Choice(winner, path, len(equal))


def _better_of_two(near: Sequence[Candidate], random: Random, doubtful: Callable[[str], bool] | None) -> Choice:
    total = len(near)
    if total == 1:
        return Choice(near[0], ChoicePath.UNIQUE_MIN)
    first = int(random.random() * total)
    second = int(random.random() * (total - 1))
    one, other = near[first], near[second + (second >= first)]
    better = better_of(one, other, doubtful)
    return Choice(better, ChoicePath.RANDOM, total)


def better_of(one: Weighed, other: Weighed, doubtful: Callable[[str], bool] | None) -> Weighed:
    """Return the one with fewer requests of the model, then the one of whose places fewer are taken.

    Between equals a machine that fails often (`doubtful`, by its identity) stands behind; else the first is taken.
    """
    if one.occupancy != other.occupancy or one.share != other.share:
        return one if (one.occupancy, one.share) < (other.occupancy, other.share) else other
    if doubtful is None or not doubtful(one.session.ident.stable_id):
        return one
    return one if doubtful(other.session.ident.stable_id) else other
