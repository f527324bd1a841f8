"""Which machine loads what in one round: one assignment for all models together, instead of model after model. Pure.

Loads come in the order of their need. As many as possible get a machine, an earlier one before a later one; among all
ways to do that, the one whose machines suit their models best is taken. So two models do not fight for a machine while
another one would do for either.

Invariant: a load that has a machine keeps having one while later loads enter; it may move to another.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def assign(loads: Sequence[Mapping[str, int]], limit: int) -> list[str | None]:
    """Give loads machines, at most `limit` of them; returns the machine of each load, None for those without.

    A load is the machines that would do, each with its points; whole numbers, so that sums are exact. Equal sums are
    decided by the order of loads and machines, so the same input has the same result. With n loads of m machines each
    this takes at most about n²·m steps, and hardly more than n·m where machines are plenty.
    """
    chosen: list[str | None] = [None] * len(loads)
    holders: dict[str, int] = {}
    for entering in range(len(loads)):
        if len(holders) >= limit:
            break
        _enter(entering, loads, chosen, holders)
    return chosen


def _enter(
    entering: int, loads: Sequence[Mapping[str, int]], chosen: list[str | None], holders: dict[str, int]
) -> None:
    """Let one more load in: it takes a machine, whose load takes another, and so on to a free one.

    Of all such chains the one that adds most points is taken; without any, nothing changes. Because every sum so far
    was the best one, no circle of moves gains anything, and so the search ends.
    """
    points: dict[str, int] = {}
    """What a chain that ends at this machine adds at best."""
    takers: dict[str, int] = {}
    reached = {entering: 0}
    moving = deque([entering])
    while moving:
        load = moving.popleft()
        for machine, worth in loads[load].items():
            total = reached[load] + worth
            if machine in points and points[machine] >= total:
                continue
            points[machine], takers[machine] = total, load
            holder = holders.get(machine)
            if holder is not None:
                reached[holder] = total - loads[holder][machine]
                if holder not in moving:
                    moving.append(holder)
    free = [machine for machine in points if machine not in holders]
    if not free:
        return
    taken: str | None = min(free, key=lambda one: (-points[one], one))
    while taken is not None:
        load = takers[taken]
        holders[taken] = load
        chosen[load], taken = taken, chosen[load]
