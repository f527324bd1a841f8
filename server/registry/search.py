"""The choice over a pool's index: the tie set of a walk over all its sessions, in a time that hardly grows with them.

A walk finds the lowest cost, keeps what is near it, then the least loaded of these, and draws one. The index finds the
lowest cost by speed class, the least loaded level with anything near it, counts what that level has near it, and takes
the one at a drawn rank. Rank follows rows, speed classes and bases (`Entry.rank_order`); extra candidates come last.
"""

from __future__ import annotations

from operator import add
from typing import TYPE_CHECKING, TypeAlias

from server.registry.decision import ChoicePath
from server.registry.rows import NEVER, headroom_class
from server.registry.select import near_limit_us

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from server.registry.decision import Candidate
    from server.registry.entry import Entry
    from server.registry.kinds import Kind
    from server.registry.pool import Pool
    from server.registry.rows import Level, Share

    Found: TypeAlias = Entry | Candidate


class Search:
    """One request on a pool: what it costs in each speed class, and the members that it may use.

    `deadline_us` leaves out speed classes whose first token would come later. `expected` marks cost v2: near ties are
    closer, and the better of two random ones is taken.
    """

    __slots__ = ("_expected", "_headroom", "_low", "_need", "_offsets", "_pool")

    def __init__(
        self,
        pool: Pool,
        *,
        prompt_tokens: int,
        output_tokens: int,
        need: int,
        deadline_us: int | None,
        expected: bool,
    ) -> None:
        self._pool = pool
        self._need = need
        self._headroom = headroom_class(need)
        self._expected = expected
        self._offsets = offsets = [prompt_tokens * a + output_tokens * b for a, b, _, _ in pool.speeds]
        if deadline_us is not None:
            for number, (_, _, constant, rate) in enumerate(pool.speeds):
                if constant + prompt_tokens * rate > deadline_us:
                    offsets[number] = NEVER
        self._low = min(offsets, default=NEVER)

    def choose(
        self, usable: frozenset[Kind], extra: Sequence[Candidate], random: Random
    ) -> tuple[Found, ChoicePath, int] | None:
        """Return the winner, how it was found and how many were equal; None when nothing has room."""
        best = self._best(usable, min([one.cost_us for one in extra], default=NEVER))
        if best >= NEVER:
            return None
        limit = near_limit_us(best, expected=self._expected)
        near = [one for one in extra if one.cost_us <= limit]
        if self._expected:
            return self._better_of_two(usable, limit, near, random)
        load, shares, count = self._least_loaded(usable, limit, near)
        calm = [one for one in near if (one.occupancy, one.pending) == load]
        equal = count + len(calm)
        if equal > 1:
            rank = int(random.random() * equal)
            return (self._at(shares, rank) if rank < count else calm[rank - count]), ChoicePath.RANDOM, equal
        winner = self._at(shares, 0) if count else calm[0]
        return winner, self._path(usable, limit, near, load), 1

    def best_ttft_us(self, prompt_tokens: int) -> int | None:
        """Return the earliest first token of any speed class that somebody belongs to (hard mode only)."""
        pool = self._pool
        return min(
            [constant + prompt_tokens * rate for _, _, constant, rate in pool.classes() if constant >= 0], default=None
        )

    def _best(self, usable: frozenset[Kind], best: int) -> int:
        """Return the lowest cost of a usable member with room, if it is below `best`."""
        offsets, low, headroom = self._offsets, self._low, self._headroom
        for level in self._pool.levels:
            if level.low + low >= best:
                continue
            for row in level.rows:
                if row.low + low >= best or row.headroom < headroom or row.kind not in usable:
                    continue
                if row.headroom > headroom:
                    cost = min(map(add, offsets, row.mins))
                    if cost < best:
                        best = cost
                    continue
                for number, base in enumerate(row.mins):
                    offset = offsets[number]
                    group = row.groups[number]
                    if base + offset < best and group is not None:
                        least = group.least(self._pool.members, self._need, best - offset)
                        if least + offset < best:
                            best = least + offset
        return best

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

    def _least_loaded(
        self, usable: frozenset[Kind], limit: int, near: Sequence[Candidate]
    ) -> tuple[tuple[int, int], list[Share], int]:
        """Return the least load with anything near the best cost, and the members that have it."""
        first = min([(one.occupancy, one.pending) for one in near], default=None)
        low = self._low
        for level in self._pool.levels:
            if first is not None and level.key > first:
                break
            if level.low + low <= limit:
                shares, count = self._near(level, usable, limit)
                if count:
                    return level.key, shares, count
        if first is None:
            raise AssertionError("Whoever has the lowest cost is near it.")
        return first, [], 0

    def _path(
        self, usable: frozenset[Kind], limit: int, near: Sequence[Candidate], load: tuple[int, int]
    ) -> ChoicePath:
        """Tell which comparison left only one."""
        others = [(one.occupancy, one.pending) for one in near]
        low = self._low
        for level in self._pool.levels:
            if level.low + low <= limit and self._near(level, usable, limit)[1]:
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
