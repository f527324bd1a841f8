"""How far estimates of the time to first token are off, measured, so that the next ones are right.

Only warm, undisturbed picks count: a cold one waits for its load, and of two that race the faster one is seen.
Whoever stores the windows takes the changed ones from here and gives the stored ones back at the start.
Invariant: at most `PENDING_MAX` predictions wait for their outcome, for ten minutes at most.
Invariant: at most `KEYS_MAX` windows, the least recently used leaves first; only existing ones count as changed.
Source: routing, calibration of the time to first token.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from server.registry.rates import SampleWindow

if TYPE_CHECKING:
    from collections.abc import Iterable

WINDOW: Final = 200
SAMPLES_MIN: Final = 50
RATIO_MIN: Final = 0.2
RATIO_MAX: Final = 1.5
PENDING_MAX: Final = 8_192
PENDING_SECONDS: Final = 600.0
KEYS_MAX: Final = 8_192
NEUTRAL: Final = 1.0


class _Prediction(NamedTuple):
    model: str
    chip_family: str
    predicted_ms: float
    reserved_at: float


class RatioWindow(NamedTuple):
    """The last ratios of a model, oldest first: on one chip family, or on all of them (None)."""

    model: str
    chip_family: str | None
    ratios: tuple[float, ...]


class TtftCalibration:
    """Ratios of actual over predicted time, by model and chip family, and by model alone."""

    def __init__(self) -> None:
        self._pending: OrderedDict[str, _Prediction] = OrderedDict()
        self._ratios: OrderedDict[tuple[str, str | None], SampleWindow] = OrderedDict()
        self._changed: dict[tuple[str, str | None], None] = {}

    def __len__(self) -> int:
        return len(self._ratios)

    def predicted(self, request_id: str, model: str, chip_family: str, raw_ms: float, now: float) -> None:
        """Remember the uncalibrated estimate (ms) of a reserved attempt whose model is resident."""
        if raw_ms <= 0:
            return
        pending = self._pending
        while pending:
            oldest = next(iter(pending))
            if len(pending) < PENDING_MAX and now - pending[oldest].reserved_at < PENDING_SECONDS:
                break
            del pending[oldest]
        pending[request_id] = _Prediction(model, chip_family, raw_ms, now)

    def content(self, request_id: str, now: float) -> float | None:
        """Note the first content of an attempt; returns actual over predicted, None for one that does not count."""
        found = self._pending.pop(request_id, None)
        if found is None or now - found.reserved_at > PENDING_SECONDS:
            return None
        ratio = 1000 * (now - found.reserved_at) / found.predicted_ms
        self._add(found.model, found.chip_family, ratio)
        self._add(found.model, None, ratio)
        return ratio

    def forget(self, request_id: str) -> None:
        """Leave an attempt out: it raced another one, its prompt was cached, or it ended without content."""
        self._pending.pop(request_id, None)

    def ratio(self, model: str, chip_family: str) -> float:
        """The factor for estimates: the median within bounds, of the chip family first, else of the model, else 1."""
        for key in ((model, chip_family), (model, None)):
            window = self._ratios.get(key)
            if window is not None and len(window) >= SAMPLES_MIN:
                return min(RATIO_MAX, max(RATIO_MIN, window.median()))
        return NEUTRAL

    def q90_ms(self, model: str, raw_ms: float) -> float | None:
        """What nine of ten attempts with this raw estimate need, in ms; None while too little was seen."""
        window = self._ratios.get((model, None))
        if window is None or len(window) < SAMPLES_MIN or raw_ms <= 0:
            return None
        return raw_ms * window.p90()

    # Storing

    def take_changed(self, limit: int) -> list[RatioWindow]:
        """Hand out some changed windows, oldest change first; give those back that could not be written."""
        keys = list(islice(self._changed, limit))
        for key in keys:
            del self._changed[key]
        return [RatioWindow(*key, self._ratios[key].samples()) for key in keys]

    def put_back(self, windows: Iterable[RatioWindow]) -> None:
        """Count these windows as changed again."""
        for window in windows:
            if window[:2] in self._ratios:
                self._changed.setdefault(window[:2])

    def restore(self, windows: Iterable[RatioWindow]) -> None:
        """Take stored windows, the most recently used first; what is known better already stays."""
        for model, chip_family, ratios in windows:
            key = (model, chip_family)
            if key in self._ratios or len(self._ratios) >= KEYS_MAX:
                continue
            window = self._ratios[key] = SampleWindow(WINDOW)
            self._ratios.move_to_end(key, last=False)
            for ratio in ratios:
                window.add(ratio)

    def _add(self, model: str, chip_family: str | None, ratio: float) -> None:
        key = (model, chip_family)
        window = self._ratios.get(key)
        if window is None:
            if len(self._ratios) >= KEYS_MAX:
                gone, _ = self._ratios.popitem(last=False)
                self._changed.pop(gone, None)
            window = self._ratios[key] = SampleWindow(WINDOW)
        else:
            self._ratios.move_to_end(key)
        window.add(ratio)
        self._changed.setdefault(key)
