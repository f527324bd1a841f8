"""Choosing among the providers that passed every gate: narrow the pool, then lowest cost with fair near ties."""

from __future__ import annotations

from heapq import nsmallest
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from msgspec import Struct

from server.registry.decision import Candidate, ChoicePath
from server.registry.request import SelfRoute

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from server.registry.policy import RoutingPolicy
    from server.registry.request import RoutedRequest
    from server.registry.walk import Priced

NEAR_TIE_MS: Final = 3_000.0

_One = TypeVar("_One", "Candidate", "Priced")
_COST: Final = attrgetter("cost")


class Choice(Struct, Generic[_One], frozen=True):
    """The winner with the way it was found, and the best of the others."""

    winner: _One
    runner_up: _One | None
    path: ChoicePath


def narrow(pool: Sequence[_One], request: RoutedRequest, policy: RoutingPolicy) -> Sequence[_One]:
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


def choose(pool: Sequence[_One], random: Random) -> Choice[_One] | None:
    """Pick from the pool in two passes, so that the order of iteration never matters; None for an empty pool.

    Among costs within 3 000 ms of the lowest the least occupied wins, then the fewest reservations; among those equal
    on both and within 3 000 ms of the cheapest of them the choice is uniformly random.
    """
    if not pool:
        return None
    best = min(pool, key=_COST).cost
    near = [one for one in pool if one.cost - best <= NEAR_TIE_MS]
    if len(near) == 1:
        return Choice(near[0], _runner_up(pool, near[0]), ChoicePath.UNIQUE_MIN)
    occupancy = min(one.occupancy for one in near)
    calm = [one for one in near if one.occupancy == occupancy]
    if len(calm) == 1:
        return Choice(calm[0], _runner_up(pool, calm[0]), ChoicePath.TIE_QUEUE)
    pending = min(one.pending for one in calm)
    equal = [one for one in calm if one.pending == pending]
    if len(equal) == 1:
        return Choice(equal[0], _runner_up(pool, equal[0]), ChoicePath.TIE_PENDING)
    winner = random.choice(equal)
    return Choice(winner, _runner_up(pool, winner), ChoicePath.RANDOM)


def _runner_up(pool: Sequence[_One], winner: _One) -> _One | None:
    return next((one for one in nsmallest(2, pool, key=_COST) if one is not winner), None)
