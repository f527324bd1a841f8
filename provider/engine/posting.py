"""When the engine thread hands its output to trio: at once, or together with that of the next steps.

Waking the other thread costs more than a step of a very small model, and the two then take the interpreter from each
other. Steps that fall into one frame of a screen therefore share a wake-up; a slow step never makes anybody wait.
"""

from typing import Final

from provider.engine.core import EngineCore

FRAME_SECONDS: Final = 1 / 60
"""Longest distance of two hand-overs while steps are quick: nobody sees text come more smoothly."""


class Posting:
    """Decides after each turn; owned by the engine thread, instants in seconds."""

    __slots__ = ("_change", "_posted_at")

    def __init__(self, core: EngineCore) -> None:
        self._change = core.snapshot.change
        self._posted_at = float("-inf")

    def is_due(self, core: EngineCore, began: float, ended: float) -> bool:
        """Whether to hand over what the turn between these instants left in `core`.

        First tokens, terminal events, replies and changes of the snapshot never wait, nor does anything before a step
        that may be long (a prompt is processed), before one that would end in the next frame if it takes as long as
        the last, or before the thread sleeps.
        """
        if core.replies or core.snapshot.change != self._change:
            return True
        if not core.outbox:
            return False
        next_end = ended + (ended - began)
        return next_end - self._posted_at > FRAME_SECONDS or not core.is_steady

    def note(self, core: EngineCore, now: float) -> None:
        """Everything was handed over."""
        self._change = core.snapshot.change
        self._posted_at = now
