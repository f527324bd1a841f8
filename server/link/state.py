"""Where a provider connection is in its life: OPEN → REGISTERED → CLOSING → GONE, never back."""

from __future__ import annotations

from enum import Enum, auto


class SessionState(Enum):
    """Where a connection is in its life."""

    OPEN = auto()
    """Nothing is registered."""
    REGISTERED = auto()
    CLOSING = auto()
    """The close frame was sent or is on its way, and the attempts have ended."""
    GONE = auto()
