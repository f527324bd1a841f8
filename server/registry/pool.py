"""All sessions that offer one model, kept in order while they change, so that nobody ever has to walk over them.

Invariant: every session of the pool has one entry, counted in exactly one kind; an entry with room for anything and
without a gate against it stands in exactly one group of one level, or among the open backlogs.
"""

from __future__ import annotations

from bisect import insort
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from server.registry.kinds import Kinds
from server.registry.price import ttft_price
from server.registry.request import PLAIN
from server.registry.rows import ID_BITS, Level, headroom_class
from server.registry.sums import PoolSums

if TYPE_CHECKING:
    from collections.abc import Iterable

    from server.registry.entry import Entry
    from server.registry.gates import GateContext
    from server.registry.kinds import Kind
    from server.registry.reasons import Reason
    from server.registry.request import Traits
    from server.registry.state import Session

_FAR: Final = (1 << 40, 1 << 40, 0, 0)
"""Stands for a speed class that nobody belongs to."""
_LEVEL_KEY: Final = attrgetter("key")


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
        self._numbers: dict[tuple[int, int, int, int], int] = {}
        self._uses: list[int] = []
        self._free: list[int] = []
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

    def offers(self, *, vision: bool = False, tools: bool = False, constraint: bool = False) -> bool:
        """Whether any session at all has these abilities."""
        return any(
            kind.count
            and (kind.gates.vision or not vision)
            and (kind.gates.tools_ok or not tools)
            and (kind.gates.constraint or not constraint)
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
        kind = self._kind(entry)
        price, room = entry.price, entry.room
        if not kind.listed or room < 0 or price.open_backlog is not None:
            self._unlist(entry)
            if kind.listed and room >= 0:
                self.open_backlogs[entry.epoch] = entry
        elif context.policy.ttft_hard_reject:
            ttft = ttft_price(entry.session, self.model, context)
            self._list(entry, kind, (price.prompt, price.output, ttft.constant, ttft.prompt))
        else:
            self._list(entry, kind, (price.prompt, price.output, 0, 0))
        self.sums.follow(entry, context.catalog)

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
            if group is not None
        )
        return listed + sum(entry.room >= need for entry in self.open_backlogs.values())

    def _kind(self, entry: Entry) -> Kind:
        """Count the entry in its kind."""
        gates, before = entry.gates, entry.kind
        if before is not None and before.gates is gates and before.late is entry.late and before.fast is entry.fast:
            return before
        if gates is None:
            raise AssertionError("An entry is judged before it is settled.")
        kind = self.kinds.find(gates, entry.late, fast=entry.fast)
        entry.gates = kind.gates
        if kind is before:
            return kind
        if before is not None:
            before.count -= 1
        kind.count += 1
        entry.kind = kind
        return kind

    def _list(self, entry: Entry, kind: Kind, speed: tuple[int, int, int, int]) -> None:
        base, room, row, level = entry.price.base, entry.room, entry.row, entry.level
        headroom = headroom_class(room)
        load = (entry.occupancy, entry.pending)
        if row is not None and level is not None:
            if (
                entry.base == base
                and entry.room_key >> ID_BITS == room
                and row.kind is kind
                and level.key == load
                and entry.speed_class == speed
            ):
                return
            self._unlist(entry)
        self.open_backlogs.pop(entry.epoch, None)
        entry.speed_class = speed
        entry.speed_number = self._number(speed)
        entry.base = base
        entry.key = base << ID_BITS | entry.epoch
        entry.room_key = room << ID_BITS | entry.epoch
        entry.headroom = headroom
        level = self._levels.get(load)
        if level is None:
            level = self._levels[load] = Level(load)
            insort(self.levels, level, key=_LEVEL_KEY)
        entry.level = level
        entry.row = level.add(entry, kind)

    def _unlist(self, entry: Entry) -> None:
        self.open_backlogs.pop(entry.epoch, None)
        level, row = entry.level, entry.row
        if level is None or row is None:
            return
        level.remove(entry, row)
        entry.level = entry.row = None
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
