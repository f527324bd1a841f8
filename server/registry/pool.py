"""All sessions that offer one model, kept in order while they change, so that nobody ever has to walk over them.

Invariant: every session of the pool has one entry, counted in exactly one kind; an entry with room for anything and
without a gate against it stands in exactly one group of one level, or among the open backlogs.
"""

from __future__ import annotations

from bisect import insort
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from server.registry.kinds import Kinds
from server.registry.request import PLAIN
from server.registry.rows import ID_BITS, NEVER, Level, headroom_class
from server.registry.sums import PoolSums
from server.registry.ttft import ttft_price

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from server.registry.entry import Entry
    from server.registry.gates import GateContext
    from server.registry.kinds import Kind
    from server.registry.reasons import Reason
    from server.registry.request import Traits
    from server.registry.state import Session

_FAR: Final = (1 << 40, 1 << 40, 0, 0)
"""Stands for a speed class that nobody belongs to."""
_ANY_LOAD: Final = (0, 0)
"""The one level of cost v2, which compares the load of two machines only, not of all."""
_LEVEL_KEY: Final = attrgetter("key")
_RENUMBERED_MAX: Final = 4_096
SIZES_MAX: Final = 256
"""Request sizes whose cost by speed class is kept."""


class SizeCosts:
    """What requests of one size cost in each speed class, by its number; `low` is at most the smallest of them.

    `seen` is how many of the given numbers it knows.
    """

    __slots__ = ("_priced", "low", "offsets", "seen")

    def __init__(self, priced: tuple[int, int], speeds: Sequence[tuple[int, int, int, int]], seen: int = 0) -> None:
        self._priced = prompt, output = priced
        self.offsets = [prompt * a + output * b for a, b, _, _ in speeds]
        self.low = min(self.offsets, default=NEVER)
        self.seen = seen

    def follow(self, speeds: Sequence[tuple[int, int, int, int]], renumbered: Sequence[int]) -> None:
        """Take over the speed classes that were given a number since, some of them one that another class had."""
        offsets = self.offsets
        offsets.extend([0] * (len(speeds) - len(offsets)))
        prompt, output = self._priced
        for number in renumbered[self.seen :]:
            a, b, _, _ = speeds[number]
            cost = offsets[number] = prompt * a + output * b
            if cost < self.low:
                self.low = cost
        self.seen = len(renumbered)


class Pool:
    """The index of one model; `members` by the epoch of their sessions, `levels` in the order of their load."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.members: dict[int, Entry] = {}
        self.kinds = Kinds()
        self.levels: list[Level] = []
        self._levels: dict[tuple[int, int], Level] = {}
        self.open_backlogs: dict[int, Entry] = {}
        """Listed entries whose cost is not a straight line of the request; they are priced one by one."""
        self.speeds: list[tuple[int, int, int, int]] = []
        """Speed classes: µs per prompt and output token; in hard mode the constant and the rate of first tokens too."""
        self._sizes: dict[tuple[int, int], SizeCosts] = {}
        self._numbers: dict[tuple[int, int, int, int], int] = {}
        self._uses: list[int] = []
        self._free: list[int] = []
        self._renumbered: list[int] = []
        """Numbers of speed classes that were given out, in order; read by sizes when they are asked for again."""
        self.sums = PoolSums(self.members)
        self.admitted = 0
        """Sessions whose first challenge passed."""

    @property
    def size(self) -> int:
        """Sessions that offer the model."""
        return len(self.members)

    def sessions(self) -> list[Session]:
        """Return the sessions that offer the model. This is a walk: not for the way of a request."""
        return [entry.session for entry in self.members.values()]

    # Questions

    def tally(self, traits: Traits = PLAIN, *, ignore_health: bool = False) -> dict[Reason | None, int]:
        """Count sessions by the first gate against a public request; None: nothing but room can stand in its way."""
        return self.kinds.tally(traits, ignore_health=ignore_health)

    def offers(
        self,
        *,
        vision: bool = False,
        tools: bool = False,
        constraint: bool = False,
        features: frozenset[str] = frozenset(),
    ) -> bool:
        """Whether any session at all has these abilities."""
        return any(
            kind.count
            and (kind.gates.vision or not vision)
            and (kind.gates.tools_ok or not tools)
            and (kind.gates.constraint or not constraint)
            and features <= kind.gates.features
            for kind in self.kinds
        )

    def largest_budget(self) -> int | None:
        """See PoolSums."""
        return self.sums.largest_budget()

    @property
    def warm(self) -> int:
        """Eligible sessions with resident weights."""
        return self.sums.total.warm

    @property
    def cold(self) -> int:
        """Eligible sessions that would have to load the model."""
        return self.sums.total.cold

    @property
    def running(self) -> int:
        """Requests that run in the engines of eligible sessions."""
        return self.sums.total.in_engine

    @property
    def waiting(self) -> int:
        """Requests that wait in the engines of eligible sessions."""
        return self.sums.total.queued

    @property
    def idle_slots(self) -> int:
        """Free places of warm sessions."""
        return self.sums.total.free

    @property
    def idle_providers(self) -> int:
        """Warm sessions with nothing in flight."""
        return self.sums.total.idle

    @property
    def saturated_warm(self) -> int:
        """Warm sessions without a place."""
        return self.sums.total.saturated

    def costs(self, priced: tuple[int, int]) -> SizeCosts:
        """Return what a request of so many prompt and output tokens costs in each speed class."""
        found = self._sizes.get(priced)
        if found is None:
            if len(self._sizes) >= SIZES_MAX:
                del self._sizes[next(iter(self._sizes))]
            found = self._sizes[priced] = SizeCosts(priced, self.speeds, len(self._renumbered))
        elif found.seen != len(self._renumbered):
            found.follow(self.speeds, self._renumbered)
        return found

    # Changes

    def enter(self, entry: Entry) -> None:
        """Make an entry a member; it is settled later."""
        self.members[entry.epoch] = entry

    def leave(self, entry: Entry) -> None:
        """Take a member out of everything."""
        self._unlist(entry)
        if entry.kind is not None:
            entry.kind.count -= 1
            entry.kind = None
        self.sums.leave(entry)
        del self.members[entry.epoch]

    def settle(self, entry: Entry, context: GateContext) -> None:
        """Put a member where its present answers, room and price belong."""
        kind = entry.kind
        if kind is None or kind.gates is not entry.gates or kind.late is not entry.late or kind.fast is not entry.fast:
            kind = self._count(entry)
        if not kind.listed or entry.room < 0 or entry.open_backlog:
            self._unlist(entry)
            if kind.listed and entry.room >= 0:
                self.open_backlogs[entry.epoch] = entry
        else:
            policy = context.policy
            speed = (entry.prompt, entry.output, 0, 0)
            if policy.ttft_hard_reject:
                ttft = ttft_price(entry.session, self.model, context)
                speed = (entry.prompt, entry.output, ttft.constant, ttft.prompt)
            load = (entry.occupancy, entry.pending) if policy.cost_model == "v1" else _ANY_LOAD
            self._list(entry, kind, load, speed)
        self.sums.follow(entry)

    def reprice(self, entry: Entry) -> None:
        """Move a member of which nothing but the cost changed."""
        if entry.row is not None and entry.level is not None:
            key = entry.cost << ID_BITS | entry.epoch
            entry.level.move(entry, entry.row, entry.speed_number, entry.cost, key, entry.room_key)

    def withhold(self, entry: Entry) -> bool:
        """Take a member off the lists until it is settled again; False when it stands on none."""
        listed = entry.level is not None or entry.epoch in self.open_backlogs
        self._unlist(entry)
        return listed

    def with_room(self, need: int, traits: Traits, *, ignore_health: bool = False) -> int:
        """Count the listed members that a request with these traits may use and that have room for `need`."""
        listed = sum(
            group.fitting(need)
            for level in self.levels
            for row in level.rows
            if row.kind.rejection(traits, ignore_health=ignore_health) is None
            for group in row.groups
        )
        return listed + sum(
            entry.room >= need
            and entry.kind is not None
            and entry.kind.rejection(traits, ignore_health=ignore_health) is None
            for entry in self.open_backlogs.values()
        )

    def _count(self, entry: Entry) -> Kind:
        """Count the entry in its kind."""
        gates, before = entry.gates, entry.kind
        if gates is None:
            raise AssertionError("An entry is judged before it is settled.")
        kind = self.kinds.find(gates, entry.late, fast=entry.fast)
        entry.gates = kind.gates
        if kind is not before:
            if before is not None:
                before.count -= 1
            kind.count += 1
            entry.kind = kind
        return kind

    def _list(self, entry: Entry, kind: Kind, load: tuple[int, int], speed: tuple[int, int, int, int]) -> None:
        base, room, row, level = entry.cost, entry.room, entry.row, entry.level
        key, room_key = base << ID_BITS | entry.epoch, room << ID_BITS | entry.epoch
        headroom = headroom_class(room)
        if row is not None and level is not None:
            number = entry.speed_number
            if entry.speed_class != speed:
                number = self._number(speed)  # before the old one is free: a change of class is a change of number
                self._leave_class(entry)
                entry.speed_class = speed
            if row.kind is kind and row.headroom == headroom and level.key == load:
                level.move(entry, row, number, base, key, room_key)
                return
            level.remove(entry, row)
            entry.speed_number = number
        else:
            if self.open_backlogs:
                self.open_backlogs.pop(entry.epoch, None)
            entry.speed_class = speed
            entry.speed_number = self._number(speed)
        entry.base, entry.key, entry.room_key, entry.headroom = base, key, room_key, headroom
        level = self._levels.get(load)
        if level is None:
            level = self._levels[load] = Level(load)
            insort(self.levels, level, key=_LEVEL_KEY)
        entry.level = level
        entry.row = level.add(entry, kind)

    def _unlist(self, entry: Entry) -> None:
        if self.open_backlogs:
            self.open_backlogs.pop(entry.epoch, None)
        level, row = entry.level, entry.row
        if level is None or row is None:
            return
        level.remove(entry, row)
        entry.level = entry.row = None
        self._leave_class(entry)

    def _leave_class(self, entry: Entry) -> None:
        number = entry.speed_number
        self._uses[number] -= 1
        if not self._uses[number]:
            del self._numbers[entry.speed_class]
            self.speeds[number] = _FAR
            self._free.append(number)

    def _number(self, speed: tuple[int, int, int, int]) -> int:
        number = self._numbers.get(speed)
        if number is None:
            if self._free:
                number = self._free.pop()
                self.speeds[number] = speed
            else:
                number = len(self.speeds)
                self.speeds.append(speed)
                self._uses.append(0)
            self._numbers[speed] = number
            self._renumbered.append(number)
            if len(self._renumbered) > _RENUMBERED_MAX:
                self._renumbered.clear()
                self._sizes.clear()
        self._uses[number] += 1
        return number

    def classes(self) -> Iterable[tuple[int, int, int, int]]:
        """Return the speed classes that somebody belongs to."""
        return self._numbers

    def forget_empty_kinds(self) -> None:
        """Drop kinds and rows that nobody belongs to, when there are too many."""
        gone = self.kinds.forget_empty()
        if gone:
            for level in self.levels:
                level.drop_rows(gone)
