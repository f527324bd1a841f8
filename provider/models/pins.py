"""Which models requests need now, when each was needed last, and how long it is to stay after that.

Invariant: a model with a pin is in use; its last use is the moment of its newest pin or release.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Self


class Pin:
    """Keeps one model from being evicted or unloaded; released once, also as a context manager."""

    def __init__(self, release: Callable[["Pin"], None], model_id: str) -> None:
        self.model_id = model_id
        self._release = release

    def release(self) -> None:
        """Let go; idempotent."""
        self._release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Pins:
    """The pins of all models, loaded or not. Trio thread only; `clock` in seconds.

    Of a model that is not resident nothing is kept beyond its pins, because anybody may name one.
    """

    def __init__(self, clock: Callable[[], float], is_resident: Callable[[str], bool]) -> None:
        self._clock = clock
        self._is_resident = is_resident
        self._pins: dict[str, set[Pin]] = {}
        self._used_at: dict[str, float] = {}
        self._spans: dict[str, float] = {}

    def pin(self, model_id: str) -> Pin:
        """Count a request for a model."""
        pin = Pin(self._unpin, model_id)
        self._pins.setdefault(model_id, set()).add(pin)
        self._used_at[model_id] = self._clock()
        return pin

    def __len__(self) -> int:
        """Models that are needed now."""
        return len(self._pins)

    def is_pinned(self, model_id: str) -> bool:
        """Whether a request needs the model."""
        return model_id in self._pins

    def note_use(self, model_id: str) -> None:
        """A model that was never used counts from now."""
        self._used_at.setdefault(model_id, self._clock())

    def last_use(self, model_id: str) -> float:
        """When it was used last, on the clock; 0 if never."""
        return self._used_at.get(model_id, 0.0)

    def idle_seconds(self, model_id: str) -> float:
        """How long nobody has used it."""
        return self._clock() - self.last_use(model_id)

    def keep(self, model_id: str, seconds: float | None) -> None:
        """A resident model is to stay for so long after its last use; None: as long as any other."""
        self._spans.pop(model_id, None)
        if seconds is not None and self._is_resident(model_id):
            self._spans[model_id] = seconds

    def span(self, model_id: str, usual: float) -> float:
        """How many seconds after its last use it may go."""
        return self._spans.get(model_id, usual)

    def forget(self, model_id: str) -> None:
        """The model was unloaded: its uses do not count any more, unless a request waits for it already."""
        self._spans.pop(model_id, None)
        if model_id not in self._pins:
            self._used_at.pop(model_id, None)

    def _unpin(self, pin: Pin) -> None:
        pins = self._pins.get(pin.model_id)
        if pins is None or pin not in pins:
            return
        pins.discard(pin)
        if not pins:
            del self._pins[pin.model_id]
        if self._is_resident(pin.model_id):
            self._used_at[pin.model_id] = self._clock()
        else:
            self.forget(pin.model_id)
