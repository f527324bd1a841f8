"""The rows of one slot: those that wait, and the lanes with those that run or are paused.

Invariant: owned by the engine thread; a live row is in `waiting` or in the lane of its reserved length, never in both.
"""

from collections import deque
from collections.abc import Callable, Iterator

from provider.engine.backend import Backend
from provider.engine.lane import Lane
from provider.engine.model import LoadedModel
from provider.engine.reservation import lane_of, round_to_step
from provider.engine.row import Row


class SlotRows:
    """What stands where, and what it costs."""

    def __init__(self, model: LoadedModel, backend: Backend, max_rows: int, clock: Callable[[], float]) -> None:
        self.waiting: deque[Row] = deque()
        self.lanes: dict[int, Lane] = {}
        self._model = model
        self._backend = backend
        self._max_rows = max_rows
        self._clock = clock

    @property
    def is_stepping(self) -> bool:
        """Whether a step would do anything."""
        return any(lane.rows for lane in self.lanes.values())

    @property
    def is_empty(self) -> bool:
        """Whether no request is waiting, running or paused."""
        return not self.waiting and not any(lane.rows or lane.paused for lane in self.lanes.values())

    @property
    def is_decoding(self) -> bool:
        """Whether a step gives tokens."""
        return any(len(lane.rows) > lane.prefilling for lane in self.lanes.values())

    @property
    def prefilling_lanes(self) -> int:
        """Generators with a prompt that is not through."""
        count = 0
        for lane in self.lanes.values():  # every turn asks: a generator expression would cost three times as much
            if lane.prefilling:
                count += 1
        return count

    @property
    def started(self) -> int:
        """Rows that run or are paused."""
        return sum(len(lane.rows) + len(lane.paused) for lane in self.lanes.values())

    @property
    def charged_tokens(self) -> int:
        """Tokens of all rectangles."""
        return sum(lane.charged_tokens for lane in self.lanes.values())

    @property
    def queued_tokens(self) -> int:
        """Charged tokens of the waiting rows, each on its own."""
        return sum(round_to_step(row.reserved) for row in self.waiting)

    @property
    def charged_bytes(self) -> int:
        """Bytes of all rectangles."""
        return self._bytes(self.charged_tokens, self.started)

    def unused_bytes(self) -> int:
        """Reserved bytes that the caches have not taken from the allocator yet."""
        held = sum(lane.cache_bytes for lane in self.lanes.values())
        return max(0, self.charged_bytes - held)

    def growth(self, row: Row) -> int:
        """Tokens by which a row would enlarge the rectangles."""
        lane = self.lanes.get(lane_of(row.reserved))
        return lane.growth(row.reserved) if lane is not None else round_to_step(row.reserved)

    def cost(self, row: Row) -> int:
        """Bytes that starting a row would reserve."""
        return self._bytes(self.growth(row), 1)

    def lane(self, row: Row) -> Lane:
        """Give the lane of a row, made if there is none."""
        key = lane_of(row.reserved)
        lane = self.lanes.get(key)
        if lane is None:
            lane = self.lanes[key] = Lane(self._backend, self._max_rows, self._clock)
        return lane

    def prefilling(self) -> Iterator[Row]:
        """Rows whose prompt is not through."""
        return (row for lane in self.lanes.values() if lane.prefilling for row in lane.rows.values() if row.prefilling)

    def drop(self, row: Row) -> None:
        """Take a live row out of queue or lane."""
        if row.admitted_at is None:
            self.waiting.remove(row)
        else:
            self.lane(row).remove(row)

    def close(self) -> None:
        """Drop generators and caches."""
        for lane in self.lanes.values():
            lane.close()
        self.lanes.clear()

    def __iter__(self) -> Iterator[Row]:
        yield from self.waiting
        for lane in self.lanes.values():
            yield from lane.rows.values()
            yield from lane.paused.values()

    def _bytes(self, tokens: int, rows: int) -> int:
        return tokens * self._model.kv_bytes_per_token + rows * self._model.kv_bytes_per_row
