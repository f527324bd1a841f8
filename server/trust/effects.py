"""What a change of trust asks the session to do; plain data, performed in order by the provider link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from protocol.messages.to_provider import AttestationChallenge, RuntimeStatus, TrustStatus
    from server.ports import TrustState


@dataclass(frozen=True, slots=True)
class Publish:
    """Write the new trust state into the registry."""

    state: TrustState


@dataclass(frozen=True, slots=True)
class Send:
    """Send a status message on the control lane."""

    message: TrustStatus | RuntimeStatus


@dataclass(frozen=True, slots=True)
class SendChallenge:
    """Send a challenge; its clock starts when the frame is on the wire."""

    message: AttestationChallenge


@dataclass(frozen=True, slots=True)
class WithdrawRequests:
    """Take back the requests that are queued for this provider: none may reach it any more."""


@dataclass(frozen=True, slots=True)
class Supersede:
    """The device behind this session proved itself for the first time: its older sessions end."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the connection."""

    code: int
    reason: str


Effect: TypeAlias = Publish | Send | SendChallenge | WithdrawRequests | Supersede | Disconnect
