"""The choice of cost v1 over the index: among those near the lowest cost the least loaded, and chance among these.

A walk finds the lowest cost, keeps what is near it, then the least loaded of these, and draws one. The index finds the
lowest cost by speed class, knows the least loaded level that has anything near it, and draws there: members of the
level until one of them belongs to the tie set, and after a few misses one of the set itself, which is counted then.
Either way every member of the set has the same chance.
"""

from __future__ import annotations

from operator import add
from typing import TYPE_CHECKING, Final

from server.registry.decision import ChoicePath
from server.registry.rows import NEVER
from server.registry.search import Search
from server.registry.select import near_limit_us

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from server.registry.decision import Candidate
    from server.registry.entry import Entry
    from server.registry.kinds import Kind
    from server.registry.rows import Level, Row, Share
    from server.registry.search import Found

DRAWS: Final = 6
"""So many members of a level are drawn before its tie set is counted."""
FEW: Final = 24
"""A level with so few members is counted at once."""


class LeastLoadedSearch(Search):
    """The search of cost v1."""

    __slots__ = ()

    def choose(
        self, usable: frozenset[Kind], extra: Sequence[Candidate], random: Random
    ) -> tuple[Found, ChoicePath, int] | None:
        """See `Search.choose`."""
        best, better = self._best(usable)
        if extra:
            best = min(best, *[one.cost_us for one in extra])
        if best >= NEVER:
            return None
        limit = near_limit_us(best)
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
        rows = [row for row in level.rows if row.kind in usable and row.headroom >= self.headroom and row.members]
        members = sum([len(row.members) for row in rows])
        if members > FEW:
            drawn = self._draw(rows, members, limit, random)
            if drawn is not None:
                return drawn, ChoicePath.RANDOM, 0
        else:
            return self._listed(usable, limit, level, rows, near, random)
        return self._counted(usable, limit, level, level.key, (), near, random)

    def _best(self, usable: frozenset[Kind]) -> tuple[int, list[tuple[Level, int]]]:
        """Return the lowest cost of a usable listed member with room, NEVER without any.

        With it go the levels that each had a lower cost than all before them, in their order. The first of these that
        is near the best is the least loaded one with anything near: what was skipped costs no less than one before it.
        """
        low, best = self.low, NEVER
        better: list[tuple[Level, int]] = []
        for level in self.pool.levels:
            if level.low + low < best:
                cost = self._lowest(level, usable, best)
                if cost < best:
                    best = cost
                    better.append((level, cost))
        return best, better

    def _lowest(self, level: Level, usable: frozenset[Kind], best: int) -> int:
        """Return the lowest cost of a usable member of a level with room, if it is below `best`, else `best`."""
        low, headroom = self.low, self.headroom
        for row in level.rows:
            if row.low + low >= best or row.headroom < headroom or row.kind not in usable:
                continue
            if row.headroom > headroom:
                best = min(best, row.best(self.costs))
            else:
                best = self.least(row, list(map(add, self.offsets, row.mins)), best)
        return best

    def _draw(self, rows: Sequence[Row], members: int, limit: int, random: Random) -> Entry | None:
        """Draw members until one is near the best and has room; None after some misses."""
        offsets, need = self.offsets, self.need
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

    def _near(self, level: Level, usable: frozenset[Kind], limit: int) -> list[Share]:
        """Return the usable members of a level with room and a cost of at most `limit`."""
        low, headroom = self.low, self.headroom
        shares: list[Share] = []
        for row in level.rows:
            if row.low + low <= limit and row.headroom >= headroom and row.kind in usable:
                shares += self.near(row, list(map(add, self.offsets, row.mins)), limit)
        return shares

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
        shares = self._near(level, usable, limit) if level is not None else []
        count = sum([share[0] for share in shares])
        equal = count + len(calm)
        rank = int(random.random() * equal) if equal > 1 else 0
        winner = self.at(shares, calm, rank)
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
        offsets, need = self.offsets, self.need
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
        low = self.low
        for level in self.pool.levels:
            if level.key != load and level.low + low <= limit and self._lowest(level, usable, limit + 1) <= limit:
                others.append(level.key)
        others = [one for one in others if one != load]
        if not others:
            return ChoicePath.UNIQUE_MIN
        return ChoicePath.TIE_PENDING if any(one[0] == load[0] for one in others) else ChoicePath.TIE_QUEUE
