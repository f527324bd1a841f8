"""The sorted inside of a pool: levels of equal load, rows of equal headroom, groups of equal speed, members by price.

A member stands in exactly one group: that of its level (requests of the model, reservations), its row (kind of gate
answers, headroom class) and its speed class. Inside a group all members cost a request the same but for their base.

Invariant: `Row.mins[number]` is the smallest base of the group of that speed class, `Row.low` the smallest of the row,
`Level.low` the smallest of the level; NEVER where there is no member.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from itertools import islice
from operator import add
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from server.registry.entry import Entry
    from server.registry.kinds import Kind
    from server.registry.pool import SizeCosts

NEVER: Final = 1 << 62
ID_BITS: Final = 40
ID_MASK: Final = (1 << ID_BITS) - 1
_LAST_CLASS: Final = 4
_BESTS_MAX: Final = 128
_CHANGES_READ: Final = 24
_CHANGES_MAX: Final = 4_096
NO_HOLES: Final[list[int]] = []

Share: TypeAlias = tuple[int, list[int], list[int]]
"""Some members of one group: how many, their keys in order, and the positions among these that do not count."""


def headroom_class(room: int) -> int:
    """Return the class of a room in tokens: below 1,024, 4,096, 16,384, 65,536, and above.

    Every member of a higher class has more room than any of a lower one.
    """
    return 0 if room < 1_024 else min(_LAST_CLASS, (room.bit_length() - 9) >> 1)


class Group:
    """Members of one level, row and speed class: by base, and by room; each number ends with the member's id."""

    __slots__ = ("keys", "rooms")

    def __init__(self) -> None:
        self.keys: list[int] = []
        self.rooms: list[int] = []

    def fitting(self, need: int) -> int:
        """Return how many members have room for `need`."""
        return len(self.rooms) - bisect_left(self.rooms, need << ID_BITS)

    def first(self, members: dict[int, Entry], need: int, count: int) -> list[Entry]:
        """Return the first members in the order of base that have room for `need`."""
        fitting = (one for key in self.keys if (one := members[key & ID_MASK]).room >= need)
        return list(islice(fitting, count))

    def least(self, members: dict[int, Entry], need: int, below: int) -> int:
        """Return the smallest base under `below` among the members with room for `need`, else NEVER."""
        keys, rooms = self.keys, self.rooms
        first = bisect_left(rooms, need << ID_BITS)
        fitting = len(rooms) - first
        if not fitting:
            return NEVER
        if fitting <= first:
            return min([members[room & ID_MASK].base for room in rooms[first:]])
        for key in keys:
            if key >> ID_BITS >= below:
                return NEVER
            if members[key & ID_MASK].room >= need:
                return key >> ID_BITS
        return NEVER

    def share(self, members: dict[int, Entry], need: int, highest: int) -> Share | None:
        """Return the members with room for `need` and a base of at most `highest`; None when there is none."""
        keys, rooms = self.keys, self.rooms
        first = bisect_left(rooms, need << ID_BITS)
        fitting = len(rooms) - first
        if not fitting:
            return None
        end = bisect_left(keys, (highest + 1) << ID_BITS)
        if not first:
            return (end, keys, NO_HOLES) if end else None
        if fitting <= first:
            found = [members[room & ID_MASK] for room in rooms[first:]]
            chosen = sorted([one.key for one in found if one.base <= highest])
            return (len(chosen), chosen, NO_HOLES) if chosen else None
        short = [members[room & ID_MASK] for room in rooms[:first]]
        holes = sorted([bisect_left(keys, one.key) for one in short if one.base <= highest])
        return (end - len(holes), keys, holes) if end > len(holes) else None


class Row:
    """The groups of one kind and headroom class in a level, by the number of their speed class.

    `members` has all of them in no order; a member knows its place there.
    """

    __slots__ = ("_bests", "_changes", "groups", "headroom", "kind", "low", "members", "mins", "number")

    def __init__(self, kind: Kind, headroom: int, number: int) -> None:
        self.kind = kind
        self.headroom = headroom
        self.number = number
        self.mins: list[int] = []
        self.groups: list[Group] = []
        self.members: list[Entry] = []
        self.low = NEVER
        self._bests: dict[SizeCosts, tuple[int, int, int]] = {}
        self._changes: list[int] = []
        """Numbers of the classes whose smallest base changed, in order; read by those who kept a best cost."""

    def best(self, costs: SizeCosts) -> int:
        """Return the lowest cost of a request of this size.

        It is kept with the class that has it; what changed since is looked at when the size is asked for again.
        """
        changes, offsets, mins = self._changes, costs.offsets, self.mins
        kept = self._bests.get(costs)
        if kept is not None and len(changes) - kept[2] <= _CHANGES_READ:
            best, number, seen = kept
            for changed in changes[seen:]:
                cost = offsets[changed] + mins[changed]
                if cost <= best:
                    best, number = cost, changed
                elif changed == number:
                    break  # the best one is gone: another class may have it now
            else:
                if seen != len(changes):
                    self._bests[costs] = (best, number, len(changes))
                return best
        every = list(map(add, offsets, mins))
        best = min(every, default=NEVER)
        if len(self._bests) >= _BESTS_MAX:
            self._bests.clear()
            changes.clear()
        self._bests[costs] = (best, every.index(best) if every else -1, len(changes))
        return best

    def _changed(self, number: int) -> None:
        """Note for those who kept a best cost that the smallest base of a class is another one."""
        self._changes.append(number)
        if len(self._changes) > _CHANGES_MAX:
            self._bests.clear()
            self._changes.clear()

    def add(self, entry: Entry) -> None:
        """Enter a member."""
        number = entry.speed_number
        if number >= len(self.groups):
            self._widen(number)
        group = self.groups[number]
        insort(group.keys, entry.key)
        insort(group.rooms, entry.room_key)
        entry.place = len(self.members)
        self.members.append(entry)
        self._follow(number, group)

    def remove(self, entry: Entry) -> None:
        """Take a member out."""
        number = entry.speed_number
        group = self.groups[number]
        keys, rooms = group.keys, group.rooms
        del keys[bisect_left(keys, entry.key)]
        del rooms[bisect_left(rooms, entry.room_key)]
        last = self.members.pop()
        if last is not entry:
            self.members[entry.place] = last
            last.place = entry.place
        self._follow(number, group)

    def move(self, entry: Entry, number: int, base: int, key: int, room_key: int) -> None:
        """Give a member another speed class, base and room."""
        old = entry.speed_number
        if number >= len(self.groups):
            self._widen(number)
        source, target = self.groups[old], self.groups[number]
        if room_key != entry.room_key or number != old:
            rooms = source.rooms
            del rooms[bisect_left(rooms, entry.room_key)]
            insort(target.rooms, room_key)
            entry.room_key = room_key
        if base != entry.base or number != old:
            keys = source.keys
            del keys[bisect_left(keys, entry.key)]
            insort(target.keys, key)
            entry.base, entry.key, entry.speed_number = base, key, number
            self._follow(number, target)
            if number != old:
                self._follow(old, source)

    def _widen(self, number: int) -> None:
        """Make room for a speed class with this number."""
        missing = number + 1 - len(self.groups)
        self.groups.extend([Group() for _ in range(missing)])
        self.mins.extend([NEVER] * missing)

    def _follow(self, number: int, group: Group) -> None:
        """Take over the smallest base of a group after a change."""
        keys, mins = group.keys, self.mins
        least, before = keys[0] >> ID_BITS if keys else NEVER, mins[number]
        if least != before:
            mins[number] = least
            if self._bests:
                self._changed(number)
            if least < self.low:
                self.low = least
            elif before == self.low:
                self.low = min(mins)


class Level:
    """All members with the same number of requests of the model and of reservations."""

    __slots__ = ("_rows", "key", "low", "rows")

    def __init__(self, key: tuple[int, int]) -> None:
        self.key = key
        self.rows: list[Row] = []
        self._rows: dict[tuple[Kind, int], Row] = {}
        self.low = NEVER

    def add(self, entry: Entry, kind: Kind) -> Row:
        """Enter a member and return its row."""
        where = (kind, entry.headroom)
        row = self._rows.get(where)
        if row is None:
            row = self._rows[where] = Row(kind, entry.headroom, len(self.rows))
            self.rows.append(row)
        row.add(entry)
        if row.low < self.low:
            self.low = row.low
        return row

    def remove(self, entry: Entry, row: Row) -> None:
        """Take a member out of its row."""
        row.remove(entry)
        if entry.base == self.low:
            self.low = min([one.low for one in self.rows])

    def move(self, entry: Entry, row: Row, number: int, base: int, key: int, room_key: int) -> None:
        """Give a member that stays in its row another speed class, base and room."""
        before = row.low
        row.move(entry, number, base, key, room_key)
        if row.low != before:
            self.low = min([one.low for one in self.rows])

    def drop_rows(self, kinds: set[Kind]) -> None:
        """Forget the rows of kinds that nobody belongs to."""
        self.rows = [row for row in self.rows if row.kind not in kinds]
        self._rows = {where: row for where, row in self._rows.items() if where[0] not in kinds}
        for number, row in enumerate(self.rows):
            row.number = number
