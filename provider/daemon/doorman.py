"""Whether requests are taken: they are while nobody has a reason against it.

Invariant: the desk's mark and the set of reasons change together, without a checkpoint.
"""

from typing import Final, Literal

from provider.requests import RequestDesk

Reason = Literal["schedule", "user_active", "renewing", "switching", "stopping"]
FINAL: Final[Reason] = "stopping"


class Doorman:
    """Trio thread only; the reason `stopping` is never taken back."""

    def __init__(self, desk: RequestDesk) -> None:
        self._desk = desk
        self._reasons: set[Reason] = set()

    def close(self, reason: Reason) -> None:
        """Take no requests from now on; those already admitted go on."""
        self._reasons.add(reason)
        self._desk.close_admission()

    def open(self, reason: Reason) -> None:
        """This reason is gone."""
        if reason == FINAL or reason not in self._reasons:
            return
        self._reasons.discard(reason)
        if not self._reasons:
            self._desk.open_admission()
