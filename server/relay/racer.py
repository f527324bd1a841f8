"""One machine at work on a request: the attempt, and what is known of the machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.registry.state import Session
    from server.relay.attempt import Attempt
    from server.relay.clocks import ContentClock


@dataclass(slots=True, eq=False)
class Racer:
    """An open attempt. `choose` makes its machine the one that is paid: None for the one the price was fixed for."""

    attempt: Attempt
    session: Session
    build: str
    clock: ContentClock
    opened_at: float
    details: dict[str, object] = field(repr=False)
    choose: Callable[[], None] | None = None
    cached_tokens: int = 0
    """Tokens of the prompt that the machine is believed to hold, where it was chosen for that."""

    @property
    def is_backup(self) -> bool:
        """Whether it was sent beside another attempt."""
        return self.choose is not None
