"""Speed estimates: decode and prefill rates, time to first token, projected rate, and the fleet samples behind them."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

from server.registry.solo_rates import LearnedRates
from server.registry.state import SlotState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.registry.policy import RoutingPolicy
    from server.registry.state import Caps, Session, Slot

FLEET_SAMPLES: Final = 50
RELEASES_MIN: Final = 5
BENCHMARK_TRUST: Final = 1.5
"""How far above its own benchmark a machine is believed to be."""
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
    """The last samples of one kind, also kept in their order, so that median and p90 cost nothing."""

    __slots__ = ("_recent", "_sorted")

    def __init__(self, size: int = FLEET_SAMPLES) -> None:
        self._recent: deque[float] = deque(maxlen=size)
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._recent)

    def add(self, sample: float) -> None:
        """Append a sample; the oldest leaves a full window."""
        recent, ordered = self._recent, self._sorted
        if len(recent) == recent.maxlen:
            del ordered[bisect_left(ordered, recent[0])]
        recent.append(sample)
        insort(ordered, sample)

    def samples(self) -> tuple[float, ...]:
        """The samples, oldest first."""
        return tuple(self._recent)

    def median(self) -> float:
        """Median (mean of the two middle values when even), 0 when empty."""
        ordered = self._sorted
        half, odd = divmod(len(ordered), 2)
        if odd:
            return ordered[half]
        return (ordered[half - 1] + ordered[half]) / 2 if ordered else 0.0

    def highest(self) -> float:
        """The largest sample, 0 when empty."""
        return self._sorted[-1] if self._sorted else 0.0

    def p90(self) -> float:
        """The value that nine of ten samples do not exceed (nearest rank), 0 when empty."""
        ordered = self._sorted
        return ordered[-(-9 * len(ordered) // 10) - 1] if ordered else 0.0


class FleetRates:
    """Decode samples of the fleet by model and chip; one writer, the heartbeat.

    Invariant: at most `SAMPLE_KEYS_MAX` windows; the least recently fed one leaves first.
    """

    def __init__(self) -> None:
        self._decode: OrderedDict[tuple[str, str], SampleWindow] = OrderedDict()
        self.learned = LearnedRates()

    def feed(self, session: Session, before: Mapping[str, Slot]) -> None:
        """Take the samples of a session's fresh slots; an unchanged value is the same sample seen again."""
        hardware = session.caps.hardware
        machine, now = session.ident.stable_id, session.live.reported_at
        for model, slot in session.slots.items():
            if slot.tps_decode <= 0:
                continue
            old = before.get(model)
            if old is not None and old.tps_decode == slot.tps_decode:
                continue
            _window(self._decode, (model, hardware.chip_family)).add(slot.tps_decode)
            self.learned.feed(machine, model, hardware.chip_class, slot.tps_decode, batch=slot.running, now=now)

    def decode_median(self, model: str, chip_family: str) -> float:
        """Median decode rate of the fleet for a model on a chip family, 0 when nothing was seen."""
        window = self._decode.get((model, chip_family))
        return window.median() if window is not None else 0.0

    def load_factor(self, session: Session, model: str, configured: float) -> float:
        """k for a model on machines of this kind: learned, else as configured."""
        return self.learned.factor(model, session.caps.hardware.chip_class, configured)

    def solo(self, session: Session, model: str, policy: RoutingPolicy) -> float:
        """Single-stream rate in tokens/s, 0 when unknown.

        In order: what was learned of the machine and its kind (never much above its own benchmark), a configured seed,
        the benchmark. A guess from the bandwidth counts only for models of a dedicated family. Rates that were measured
        in a batch are taken back to one stream first; without that, load would lower the rate, the rate the caps, and
        the caps would keep it there.
        """
        caps = session.caps
        benchmark = caps.decode_tps
        learned = self.learned.solo(
            session.ident.stable_id,
            model,
            caps.hardware.chip_class,
            benchmark=benchmark,
            now=session.live.reported_at,
        )
        if learned > 0:
            return min(learned, BENCHMARK_TRUST * benchmark) if benchmark > 0 else learned
        seed = policy.solo_seeds.get(model, 0.0)
        if seed > 0:
            return seed
        if benchmark > 0:
            return benchmark
        return static_tps(caps) if dedicated_family(model, policy) else 0.0


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


class ReleaseRate:
    """Slot releases of one model per second: an EWMA over one-second bins, and how many came in the last minute."""

    __slots__ = ("_bin", "_bin_count", "_per_second", "_recent", "_recent_count")

    ALPHA: Final = 0.2
    WINDOW: Final = 60

    def __init__(self) -> None:
        self._bin: int | None = None
        self._bin_count = 0
        self._per_second: float | None = None
        self._recent: deque[tuple[int, int]] = deque()
        self._recent_count = 0

    def note(self, now: float) -> None:
        """Count one release at `now` (seconds)."""
        self._roll(math.floor(now))
        self._bin_count += 1

    def rate(self, now: float) -> float | None:
        """Releases per second, or None with fewer than 5 in the last 60 s."""
        self._roll(math.floor(now))
        if self._recent_count + self._bin_count < RELEASES_MIN:
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
                self._per_second, self._recent_count, self._bin_count, self._bin = None, 0, 0, second
                return
            if self._per_second is not None or self._bin_count:
                self._per_second = ewma(self._per_second, float(self._bin_count), self.ALPHA)
            if self._bin_count:
                self._recent.append((self._bin, self._bin_count))
                self._recent_count += self._bin_count
            self._bin += 1
            self._bin_count = 0
        while self._recent and self._recent[0][0] <= second - self.WINDOW:
            self._recent_count -= self._recent.popleft()[1]
