"""One request on a pool's index: what it costs in each speed class, and the lowest cost among the members it may use.

What is drawn among those near the lowest cost is the cost model's matter: `least_loaded` for v1, `two_choices` for v2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from heapq import nsmallest
from typing import TYPE_CHECKING, TypeAlias

from server.registry.pool import SizeCosts
from server.registry.rows import ID_BITS, ID_MASK, NEVER, NO_HOLES, headroom_class

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from server.registry.decision import Candidate, ChoicePath
    from server.registry.entry import Entry
    from server.registry.kinds import Kind
    from server.registry.pool import Pool
    from server.registry.rows import Row, Share

    Found: TypeAlias = Entry | Candidate


class Search(ABC):
    """A request for `need` tokens, priced as `priced` (prompt and output tokens), on all members of a pool.

    `deadline_us` leaves out speed classes whose first token would come later. `doubtful` tells, by its identity, if
    a machine is known to fail often.
    """

    __slots__ = ("costs", "doubtful", "headroom", "low", "need", "offsets", "pool")

    def __init__(
        self,
        pool: Pool,
        priced: tuple[int, int],
        need: int,
        prompt_tokens: int,
        deadline_us: int | None,
        doubtful: Callable[[str], bool] | None,
    ) -> None:
        self.doubtful = doubtful
        self.pool = pool
        self.need = need
        self.headroom = headroom_class(need)
        self.costs = costs = pool.costs(priced) if deadline_us is None else SizeCosts(priced, pool.speeds)
        if deadline_us is not None:
            for number, (_, _, constant, rate) in enumerate(pool.speeds):
                if constant + prompt_tokens * rate > deadline_us:
                    costs.offsets[number] = NEVER
        self.offsets = costs.offsets
        self.low = costs.low

    @abstractmethod
    def choose(
        self, usable: frozenset[Kind], extra: Sequence[Candidate], random: Random
    ) -> tuple[Found, ChoicePath, int] | None:
        """Return the winner, how it was found, and how many were equal (0: not counted); None without any room.

        `usable` are the kinds of members that the request may use; `extra` are candidates that the lists do not hold.
        """

    def best_ttft_us(self, prompt_tokens: int) -> int | None:
        """Return the earliest first token of any speed class that somebody belongs to (hard mode only)."""
        return min(
            [constant + prompt_tokens * rate for _, _, constant, rate in self.pool.classes() if constant >= 0],
            default=None,
        )

    def cheapest(self, usable: frozenset[Kind], count: int) -> list[tuple[int, Entry]]:
        """Return the cheapest listed members with room and their costs; a look into every group, for explanations."""
        members, need = self.pool.members, self.need
        found: list[tuple[int, int]] = []
        for level in self.pool.levels:
            for row in level.rows:
                if row.headroom >= self.headroom and row.kind in usable:
                    for offset, group in zip(self.offsets, row.groups, strict=False):
                        found += [(one.base + offset, one.epoch) for one in group.first(members, need, count)]
        return [(cost, members[epoch]) for cost, epoch in nsmallest(count, found)]

    def least(self, row: Row, costs: Sequence[int], bound: int) -> int:
        """Return the lowest cost of a member of a row with room, if it is below `bound`, else `bound`.

        `costs` has the lowest cost by speed class of all its members.
        """
        members, need, offsets = self.pool.members, self.need, self.offsets
        for number, cost in enumerate(costs):
            if cost < bound:
                offset = offsets[number]
                bound = min(bound, row.groups[number].least(members, need, bound - offset) + offset)
        return bound

    def near(self, row: Row, costs: Sequence[int], limit: int) -> list[Share]:
        """Return the members of a row with room and a cost of at most `limit`, by speed class and base.

        `costs` has the lowest cost by speed class of all its members.
        """
        offsets, groups, members = self.offsets, row.groups, self.pool.members
        roomy = row.headroom > self.headroom
        shares: list[Share] = []
        for number, cost in enumerate(costs):
            if cost <= limit:
                group, highest = groups[number], limit - offsets[number]
                if roomy:
                    keys = group.keys
                    shares.append((bisect_left(keys, (highest + 1) << ID_BITS), keys, NO_HOLES))
                elif share := group.share(members, self.need, highest):
                    shares.append(share)
        return shares

    def at(self, shares: Sequence[Share], extra: Sequence[Candidate], rank: int) -> Found:
        """Return the one at a rank of the tie set: the members in their order, then extra candidates."""
        for count, keys, holes in shares:
            if rank < count:
                for hole in holes:
                    if hole > rank:
                        break
                    rank += 1
                return self.pool.members[keys[rank] & ID_MASK]
            rank -= count
        return extra[rank]
