"""The choice of cost v2 over the index: of two random near ties the one with less to do.

A walk keeps whatever costs little more than the best, draws two of it and compares them. The index finds the same set:
the rows that have anything near the best, in these the speed classes, and in a class the members up to a base, which
stand in order. So the set is counted by a search for each class near the best, however many belong to it, and a drawn
rank is a place in these counts.
"""

from __future__ import annotations

from operator import add
from typing import TYPE_CHECKING

from server.registry.decision import ChoicePath
from server.registry.rows import NEVER
from server.registry.search import Search
from server.registry.select import better_of, expected_limit_us

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from server.registry.decision import Candidate
    from server.registry.kinds import Kind
    from server.registry.rows import Row, Share
    from server.registry.search import Found


class TwoChoicesSearch(Search):
    """The search of cost v2; `count` of what it returns is always that of the whole tie set."""

    __slots__ = ()

    def choose(
        self, usable: frozenset[Kind], extra: Sequence[Candidate], random: Random
    ) -> tuple[Found, ChoicePath, int] | None:
        """See `Search.choose`."""
        limit, rows = self._rows(usable, min([one.cost_us for one in extra]) if extra else NEVER)
        near = [one for one in extra if one.cost_us <= limit] if extra else ()
        shares: list[Share] = []
        for lowest, row, costs in rows:
            if lowest <= limit:
                shares += self.near(row, costs, limit)
        total = len(near)
        for share in shares:
            total += share[0]
        if total < 2:
            return (self.at(shares, near, 0), ChoicePath.UNIQUE_MIN, 1) if total else None
        first = int(random.random() * total)
        second = int(random.random() * (total - 1))
        one = self.at(shares, near, first)
        other = self.at(shares, near, second + (second >= first))
        return better_of(one, other, self.doubtful), ChoicePath.RANDOM, total

    def _rows(self, usable: frozenset[Kind], best: int) -> tuple[int, list[tuple[int, Row, list[int]]]]:
        """Return the highest cost near the lowest, which is at most `best`, and the rows that may have such a cost.

        With a row go its lowest cost, and its lowest by speed class, of members with or without room.
        """
        headroom, low, offsets = self.headroom, self.low, self.offsets
        limit = expected_limit_us(best) if best < NEVER else NEVER - 1
        found = []
        for level in self.pool.levels:
            for row in level.rows:
                if row.headroom < headroom or row.low + low > limit or row.kind not in usable:
                    continue
                costs = list(map(add, offsets, row.mins))
                lowest = cost = min(costs)
                if cost > limit:
                    continue
                found.append((lowest, row, costs))
                if row.headroom == headroom:
                    cost = self.least(row, costs, best)
                if cost < best:
                    best, limit = cost, expected_limit_us(cost)
        return limit, found
