"""What is known about the connection now, for displays and health checks."""

from dataclasses import dataclass, field

from protocol.messages.to_provider import RuntimeStatus, TrustStatus


@dataclass(slots=True)
class LinkStatus:
    """Written by the link only. `last_error` is a short reason from closed words, without foreign text.

    `since` and `trust_at` are Unix seconds: of the last change between connected and not, and of the last judgement.
    """

    connected: bool = False
    registered: bool = False
    connections: int = 0
    reconnects: int = 0
    last_error: str = ""
    since: float = 0.0
    trust_at: float = 0.0
    trust: TrustStatus | None = None
    runtime: RuntimeStatus | None = None
    frames_ignored: dict[str, int] = field(default_factory=dict)
