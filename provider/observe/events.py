"""What happens to the daemon, for a progress display or a test; no request content, ever."""

from dataclasses import dataclass
from typing import Literal

EventKind = Literal[
    "model_loading",
    "model_loaded",
    "model_failed",
    "connected",
    "registered",
    "trusted",
    "untrusted",
    "disconnected",
    "local_ready",
    "draining",
    "stopped",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderEvent:
    """One step.

    `model` names the model of the model events; `text` is a short reason, a level or an address; `retry_seconds` is
    the pause after a `disconnected`.
    """

    kind: EventKind
    model: str = ""
    text: str = ""
    retry_seconds: float = 0.0


def ignore_event(_event: ProviderEvent) -> None:
    """The default listener."""
