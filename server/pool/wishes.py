"""From what models would like to load in a round to the orders of that round. Pure.

Source: routing, warm-pool controller, one global assignment.
"""

from __future__ import annotations

from heapq import nsmallest
from typing import TYPE_CHECKING, Final, NamedTuple

from server.pool.assignment import assign
from server.pool.swap_planner import LoadOrder
from server.registry.state import LoadCause

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from server.pool.candidates import ColdMachine

ROUND_MAX: Final = 32
"""Loads that are thought about in one round; further ones come up again in the next, ten seconds later at most."""
POINTS: Final = 1_000
"""Steps of a machine's score: sums of whole numbers are exact, and decide the same everywhere."""


class Wish(NamedTuple):
    """One load of a model, on any of these machines, best first; wishes sort by how pressing they are.

    `patience` is smaller for what is needed more.
    """

    is_foreseen: bool
    patience: float
    model: str
    machines: Sequence[ColdMachine]


def order_loads(wishes: Iterable[Wish], room: int) -> list[LoadOrder]:
    """Order at most `room` loads, the most pressing wishes first, so that the machines suit all of them best."""
    pressing = nsmallest(ROUND_MAX, wishes, key=lambda wish: wish[:3])
    # Of n loads none has to go beyond its n best machines: one of those is always left for it.
    best = [wish.machines[: len(pressing)] for wish in pressing]
    points = [{one.session.session_id: round(POINTS * one.score) for one in machines} for machines in best]
    sessions = {one.session.session_id: one.session for machines in best for one in machines}
    return [
        LoadOrder(sessions[chosen], wish.model, LoadCause.FORECAST if wish.is_foreseen else LoadCause.WARM)
        for wish, chosen in zip(pressing, assign(points, room), strict=True)
        if chosen is not None
    ]
