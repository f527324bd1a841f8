"""The choice over a pool's index: the tie set of a walk over all its sessions, in a time that hardly grows with them.

A walk finds the lowest cost, keeps what is near it, then the least loaded of these, and draws one. The index finds the
lowest cost by speed class, knows the least loaded level that has anything near it, and draws there: members of the
level until one of them belongs to the tie set, and after a few misses one of the set itself, which is counted then.
Either way every member of the set has the same chance.
"""

from __future__ import annotations

from heapq import nsmallest
from operator import add
from typing import TYPE_CHECKING, Final, TypeAlias

from server.registry.decision import ChoicePath
from server.registry.pool import SizeCosts
from server.registry.rows import NEVER, headroom_class
from server.registry.select import near_limit_us

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from server.registry.decision import Candidate
    from server.registry.entry import Entry
    from server.registry.kinds import Kind
    from server.registry.pool import Pool
    from server.registry.rows import Level, Row, Share

    Found: TypeAlias = Entry | Candidate

DRAWS: Final = 6
"""So many members of a level are drawn before its tie set is counted."""
FEW: Final = 24
"""A level with so few members is counted at once."""


class Search:
    """One request on a pool: what it costs in each speed class, and the members that it may use.

    `deadline_us` leaves out speed classes whose first token would come later. `expected` marks cost v2: near ties are
    closer, and the better of two random ones is taken.
    """

    __slots__ = ("_costs", "_expected", "_headroom", "_low", "_need", "_offsets", "_pool")

    def __init__(
        self,
        pool: Pool,
        priced: tuple[int, int],
        *,
        need: int,
        prompt_tokens: int,
        deadline_us: int | None,
        expected: bool,
    ) -> None:
        self._pool = pool
        self._need = need
        self._headroom = headroom_class(need)
        self._expected = expected
        self._costs = costs = pool.costs(priced) if deadline_us is None else SizeCosts(priced, pool.speeds)
        if deadline_us is not None:
            for number, (_, _, constant, rate) in enumerate(pool.speeds):
                if constant + prompt_tokens * rate > deadline_us:
                    costs.offsets[number] = NEVER
        self._offsets = costs.offsets
        self._low = costs.low

    def choose(
        self, usable: frozenset[Kind], extra: Sequence[Candidate], random: Random
    ) -> tuple[Found, ChoicePath, int] | None:
        """Return the winner, how it was found, and how many were equal (0: not counted); None without any room."""
        best, better = self._best(usable)
        if extra:
            best = min(best, *[one.cost_us for one in extra])
        if best >= NEVER:
            return None
        limit = near_limit_us(best, expected=self._expected)
        if self._expected:
            return self._better_of_two(usable, limit, [one for one in extra if one.cost_us <= limit], random)
        level = next((level for level, cost in better if cost <= limit), None)
        if extra:
            near = [one for one in extra if one.cost_us <= limit]
            load = min([(one.occupancy, one.pending) for one in near], default=None)
            if load is not None and (level is None or load <= level.key):
                calm = [one for one in near if (one.occupancy, one.pending) == load]
                same = level if level is not None and level.key == load else None
                return self._counted(usable, limit, same, load, calm, near, random)
        else:
            near = []
        if level is None:
            raise AssertionError("Whoever has the lowest cost is near it.")
        rows = [row for row in level.rows if row.kind in usable and row.headroom >= self._headroom and row.members]
        members = sum([len(row.members) for row in rows])
        if members > FEW:
            drawn = self._draw(rows, members, limit, random)
            if drawn is not None:
                return drawn, ChoicePath.RANDOM, 0
        else:
            return self._listed(usable, limit, level, rows, near, random)
        return self._counted(usable, limit, level, level.key, (), near, random)

    def best_ttft_us(self, prompt_tokens: int) -> int | None:
        """Return the earliest first token of any speed class that somebody belongs to (hard mode only)."""
        pool = self._pool
        return min(
            [constant + prompt_tokens * rate for _, _, constant, rate in pool.classes() if constant >= 0], default=None
        )

    def cheapest(self, usable: frozenset[Kind], count: int) -> list[tuple[int, Entry]]:
        """Return the cheapest listed members with room and their costs; a look into every group, for explanations."""
        members, need = self._pool.members, self._need
        found: list[tuple[int, int]] = []
        for level in self._pool.levels:
            for row in level.rows:
                if row.headroom >= self._headroom and row.kind in usable:
                    for offset, group in zip(self._offsets, row.groups, strict=False):
                        first = group.first(members, need, count) if group is not None else []
                        found += [(entry.base + offset, entry.epoch) for entry in first]
        return [(cost, members[epoch]) for cost, epoch in nsmallest(count, found)]

    def _best(self, usable: frozenset[Kind]) -> tuple[int, list[tuple[Level, int]]]:
        """Return the lowest cost of a usable listed member with room, NEVER without any.

        With it go the levels that each had a lower cost than all before them, in their order. The first of these that
        is near the best is the least loaded one with anything near: what was skipped costs no less than one before it.
        """
        low, best = self._low, NEVER
        better: list[tuple[Level, int]] = []
        for level in self._pool.levels:
            if level.low + low < best:
                cost = self._lowest(level, usable, best)
                if cost < best:
                    best = cost
                    better.append((level, cost))
        return best, better

    def _lowest(self, level: Level, usable: frozenset[Kind], best: int) -> int:
        """Return the lowest cost of a usable member of a level with room, if it is below `best`, else `best`."""
        costs, low, headroom = self._costs, self._low, self._headroom
        for row in level.rows:
            if row.low + low >= best or row.headroom < headroom or row.kind not in usable:
                continue
            if row.headroom > headroom:
                cost = row.best(costs)
                if cost < best:
                    best = cost
            else:
                best = self._edge(row, best)
        return best

    def _edge(self, row: Row, best: int) -> int:
        """Return the lowest cost in a row of which only some members have room, if it is below `best`."""
        for number, cost in enumerate(map(add, self._offsets, row.mins)):
            if cost < best:
                group, offset = row.groups[number], self._offsets[number]
                if group is not None:
                    best = min(best, group.least(self._pool.members, self._need, best - offset) + offset)
        return best

    def _draw(self, rows: Sequence[Row], members: int, limit: int, random: Random) -> Entry | None:
        """Draw members until one is near the best and has room; None after some misses."""
        offsets, need = self._offsets, self._need
        for _ in range(DRAWS):
            place = int(random.random() * members)
            for row in rows:
                count = len(row.members)
                if place < count:
                    entry = row.members[place]
                    if entry.base + offsets[entry.speed_number] <= limit and entry.room >= need:
                        return entry
                    break
                place -= count
        return None

    def _near(self, level: Level, usable: frozenset[Kind], limit: int) -> tuple[list[Share], int]:
        """Return the usable members of a level with room and a cost of at most `limit`."""
        offsets, low, headroom = self._offsets, self._low, self._headroom
        need, members = self._need, self._pool.members
        shares: list[Share] = []
        count = 0
        for row in level.rows:
            if row.low + low > limit or row.headroom < headroom or row.kind not in usable:
                continue
            groups = row.groups
            for number, cost in enumerate(map(add, offsets, row.mins)):
                if cost > limit:
                    continue
                group = groups[number]
                share = group.share(members, need, limit - offsets[number]) if group is not None else None
                if share is not None:
                    shares.append(share)
                    count += share.count
        return shares, count

    def _counted(
        self,
        usable: frozenset[Kind],
        limit: int,
        level: Level | None,
        load: tuple[int, int],
        calm: Sequence[Candidate],
        near: Sequence[Candidate],
        random: Random,
    ) -> tuple[Found, ChoicePath, int]:
        """Draw a rank in the tie set: the members of the least loaded level in their order, then extra candidates."""
        shares, count = self._near(level, usable, limit) if level is not None else ([], 0)
        equal = count + len(calm)
        rank = int(random.random() * equal) if equal > 1 else 0
        winner = self._at(shares, rank) if rank < count else calm[rank - count]
        return winner, ChoicePath.RANDOM if equal > 1 else self._path(usable, limit, near, load), equal

    def _listed(
        self,
        usable: frozenset[Kind],
        limit: int,
        level: Level,
        rows: Sequence[Row],
        near: Sequence[Candidate],
        random: Random,
    ) -> tuple[Found, ChoicePath, int]:
        """Draw a rank in the tie set of a level with few members, by looking at each."""
        offsets, need = self._offsets, self._need
        equal = [
            entry
            for row in rows
            for entry in row.members
            if entry.base + offsets[entry.speed_number] <= limit and entry.room >= need
        ]
        if len(equal) > 1:
            return equal[int(random.random() * len(equal))], ChoicePath.RANDOM, len(equal)
        return equal[0], self._path(usable, limit, near, level.key), 1

    def _path(
        self, usable: frozenset[Kind], limit: int, near: Sequence[Candidate], load: tuple[int, int]
    ) -> ChoicePath:
        """Tell which comparison left only one."""
        others = [(one.occupancy, one.pending) for one in near]
        low = self._low
        for level in self._pool.levels:
            if level.key != load and level.low + low <= limit and self._lowest(level, usable, limit + 1) <= limit:
                others.append(level.key)
        others = [one for one in others if one != load]
        if not others:
            return ChoicePath.UNIQUE_MIN
        return ChoicePath.TIE_PENDING if any(one[0] == load[0] for one in others) else ChoicePath.TIE_QUEUE

    def _better_of_two(
        self, usable: frozenset[Kind], limit: int, near: Sequence[Candidate], random: Random
    ) -> tuple[Found, ChoicePath, int]:
        """Draw two of the near ties of all levels and take the less occupied, then the one with the smaller share."""
        shares: list[Share] = []
        count = 0
        for level in self._pool.levels:
            if level.low + self._low <= limit:
                some, more = self._near(level, usable, limit)
                shares += some
                count += more
        total = count + len(near)

        def draw(rank: int) -> Found:
            return self._at(shares, rank) if rank < count else near[rank - count]

        if total == 1:
            return draw(0), ChoicePath.UNIQUE_MIN, 1
        first = int(random.random() * total)
        second = int(random.random() * (total - 1))
        one, other = draw(first), draw(second + (second >= first))
        better = one if (one.occupancy, one.share) <= (other.occupancy, other.share) else other
        return better, ChoicePath.RANDOM, total

    def _at(self, shares: Sequence[Share], rank: int) -> Entry:
        for share in shares:
            if rank < share.count:
                return self._pool.members[share.member(rank)]
            rank -= share.count
        raise AssertionError("A rank is below the count.")
