"""Speed estimates: decode and prefill rates, time to first token, projected rate, and the fleet samples behind them."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from statistics import median
from typing import TYPE_CHECKING, Final

from server.registry.state import SlotState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.registry.policy import RoutingPolicy
    from server.registry.state import Caps, Session, Slot

FLEET_SAMPLES: Final = 50
SOLO_SAMPLES_MIN: Final = 5
SAMPLE_KEYS_MAX: Final = 8_192
STATE_MS: Final[Mapping[SlotState, float]] = {
    SlotState.RESIDENT: 0.0,
    SlotState.EVICTED: 20_000.0,
    SlotState.ABSENT: 30_000.0,
    SlotState.LOADING: 30_000.0,
    SlotState.CRASHED: 30_000.0,
}
"""Expected wait in ms for the weights; loading and crashed slots never get so far."""


def ewma(previous: float | None, sample: float, alpha: float) -> float:
    """Exponentially weighted mean; the first sample seeds it."""
    return sample if previous is None else alpha * sample + (1 - alpha) * previous


def static_tps(caps: Caps) -> float:
    """Single-stream decode rate from registration: benchmark, else square root of the bandwidth, else 1."""
    if caps.decode_tps > 0:
        return caps.decode_tps
    bandwidth = caps.hardware.memory_bandwidth_gbs
    return math.sqrt(bandwidth) if bandwidth > 0 else 1.0


def decode_tps(slot: Slot, static: float, fleet_median: float, load_factor: float) -> float:
    """Decode rate of one stream now: observed, else the fleet's median, else static under load; at least 1."""
    if slot.tps_decode > 0:
        return max(1.0, slot.tps_decode)
    if fleet_median > 0:
        return max(1.0, fleet_median)
    return max(1.0, static / (1 + load_factor * slot.running))


def registered_prefill_tps(caps: Caps, static: float, policy: RoutingPolicy) -> float:
    """Prefill rate from registration, else derived from the decode rate."""
    if caps.prefill_tps > 0:
        return caps.prefill_tps
    return min(policy.prefill_max_tps, static * policy.prefill_decode_ratio)


def prefill_tps(slot: Slot, registered: float) -> float:
    """Prefill rate for first-token estimates: observed, else registered or derived."""
    return slot.tps_prefill if slot.tps_prefill > 0 else registered


def solo_rate(observed: float, running: int, load_factor: float) -> float:
    """What a stream would run at alone, from its rate in a batch of `running`."""
    return observed * (1 + load_factor * running)


def projected_tps(slot: Slot, static: float, load_factor: float) -> float:
    """Decode rate of each stream once one more request has joined."""
    solo = solo_rate(slot.tps_decode, slot.running, load_factor) if slot.tps_decode > 0 else static
    return solo / (1 + load_factor * (slot.running + 1))


def ttft_ms(
    slot: Slot, *, prompt_tokens: int, ledger_count: int, prefill: float, tps: float, has_capacity: bool
) -> float | None:
    """Estimated time to first token in ms; None when the provider gives no capacity report."""
    if not has_capacity:
        return None
    ahead = prompt_tokens * (slot.waiting + max(0, ledger_count - slot.running - slot.waiting))
    return STATE_MS[slot.state] + 1000 * ahead / prefill + 1000 * prompt_tokens / prefill + 1000 / tps


class SampleWindow:
    """The last samples of one kind; the median is computed when it is first asked for."""

    __slots__ = ("_median", "_samples")

    def __init__(self, size: int = FLEET_SAMPLES) -> None:
        self._samples: deque[float] = deque(maxlen=size)
        self._median: float | None = None

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, sample: float) -> None:
        """Append a sample; the oldest leaves a full window."""
        self._samples.append(sample)
        self._median = None

    def median(self) -> float:
        """Median (mean of the two middle values when even), 0 when empty."""
        if self._median is None:
            self._median = median(self._samples) if self._samples else 0.0
        return self._median


class FleetRates:
    """Decode samples of the fleet by model and chip; one writer, the heartbeat.

    Invariant: at most `SAMPLE_KEYS_MAX` windows per kind; the least recently fed one leaves first.
    """

    def __init__(self) -> None:
        self._decode: OrderedDict[tuple[str, str], SampleWindow] = OrderedDict()
        self._solo: OrderedDict[tuple[str, str], SampleWindow] = OrderedDict()
        self._solo_classes: dict[str, set[str]] = {}

    def feed(self, session: Session, before: Mapping[str, Slot]) -> None:
        """Take the samples of a session's fresh slots; an unchanged value is the same sample seen again."""
        hardware = session.caps.hardware
        in_engine = 0
        for slot in session.slots.values():
            in_engine += slot.occupancy
        for model, slot in session.slots.items():
            if slot.tps_decode <= 0:
                continue
            old = before.get(model)
            if old is not None and old.tps_decode == slot.tps_decode:
                continue
            _window(self._decode, (model, hardware.chip_family)).add(slot.tps_decode)
            if in_engine <= 1 and slot.running > 0:
                self._add_solo(model, hardware.chip_class, slot.tps_decode)

    def _add_solo(self, model: str, chip_class: str, sample: float) -> None:
        evicted = _evicted(self._solo, (model, chip_class))
        if evicted is not None:
            classes = self._solo_classes[evicted[0]]
            classes.discard(evicted[1])
            if not classes:
                del self._solo_classes[evicted[0]]
        _window(self._solo, (model, chip_class)).add(sample)
        self._solo_classes.setdefault(model, set()).add(chip_class)

    def decode_median(self, model: str, chip_family: str) -> float:
        """Median decode rate of the fleet for a model on a chip family, 0 when nothing was seen."""
        window = self._decode.get((model, chip_family))
        return window.median() if window is not None else 0.0

    def solo(self, session: Session, model: str, policy: RoutingPolicy) -> float:
        """Single-stream rate for the quality cap, 0 when unknown.

        In order: the median of this chip class with enough samples, the slowest other class with enough samples, an
        under-sampled median, a configured seed, the registered benchmark. A guess from the bandwidth counts only for
        models of a dedicated family.
        """
        windows = self._solo
        own = windows.get((model, session.caps.hardware.chip_class)) if windows else None
        if own is not None and len(own) >= SOLO_SAMPLES_MIN:
            return own.median()
        others = [
            window.median()
            for chip_class in self._solo_classes.get(model, ())
            if len(window := windows[model, chip_class]) >= SOLO_SAMPLES_MIN
        ]
        if others:
            return min(others)
        if own is not None:
            return own.median()
        seed = policy.solo_seeds.get(model, 0.0)
        if seed > 0:
            return seed
        if session.caps.decode_tps > 0:
            return session.caps.decode_tps
        return static_tps(session.caps) if dedicated_family(model, policy) else 0.0


def dedicated_family(model: str, policy: RoutingPolicy) -> str | None:
    """Return the configured dedicated family (a name prefix) that a model belongs to."""
    for family in policy.dedicated_models:
        if model.startswith(family):
            return family
    return None


def _window(windows: OrderedDict[tuple[str, str], SampleWindow], key: tuple[str, str]) -> SampleWindow:
    window = windows.get(key)
    if window is None:
        if len(windows) >= SAMPLE_KEYS_MAX:
            windows.popitem(last=False)
        window = windows[key] = SampleWindow()
    else:
        windows.move_to_end(key)
    return window


def _evicted(windows: OrderedDict[tuple[str, str], SampleWindow], key: tuple[str, str]) -> tuple[str, str] | None:
    """Return the key that entering `key` pushes out."""
    if key in windows or len(windows) < SAMPLE_KEYS_MAX:
        return None
    return next(iter(windows))


class ReleaseRate:
    """Slot releases of one model per second: an EWMA over one-second bins, and how many came in the last minute."""

    __slots__ = ("_bin", "_bin_count", "_per_second", "_recent")

    ALPHA: Final = 0.2
    WINDOW: Final = 60

    def __init__(self) -> None:
        self._bin: int | None = None
        self._bin_count = 0
        self._per_second: float | None = None
        self._recent: deque[tuple[int, int]] = deque()

    def note(self, now: float) -> None:
        """Count one release at `now` (seconds)."""
        self._roll(math.floor(now))
        self._bin_count += 1

    def rate(self, now: float) -> float | None:
        """Releases per second, or None with fewer than 5 in the last 60 s."""
        self._roll(math.floor(now))
        if sum(count for _, count in self._recent) + self._bin_count < SOLO_SAMPLES_MIN:
            return None
        rate = ewma(self._per_second, float(self._bin_count), self.ALPHA) if self._bin_count else self._per_second
        return rate if rate is not None and rate > 0 else None

    def _roll(self, second: int) -> None:
        """Close the bins before `second`; empty ones count as zero."""
        if self._bin is None:
            self._bin = second
            return
        while self._bin < second:
            if second - self._bin > self.WINDOW:
                self._recent.clear()
                self._per_second, self._bin_count, self._bin = None, 0, second
                return
            if self._per_second is not None or self._bin_count:
                self._per_second = ewma(self._per_second, float(self._bin_count), self.ALPHA)
            if self._bin_count:
                self._recent.append((self._bin, self._bin_count))
            self._bin += 1
            self._bin_count = 0
        while self._recent and self._recent[0][0] <= second - self.WINDOW:
            self._recent.popleft()
