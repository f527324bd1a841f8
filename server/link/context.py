"""What all provider sessions of one coordinator share: the services they call and the counts they keep together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from server.link.admission import RegistrationRate, UnregisteredSockets
from server.link.housekeeper import Housekeeper
from server.link.idle import IdleReads
from server.link.meter import CountingMeter, LinkMeter
from server.link.settings import LinkSettings

if TYPE_CHECKING:
    from protocol.messages.from_provider import Register
    from protocol.messages.wire import Message
    from server.link.session import ProviderSession
    from server.ports import SessionRegistry
    from server.trust import TrustDesk

LinkAccount: TypeAlias = "Callable[[str, str], Awaitable[str | None]]"
"""(session id, device-link token) → account id, or None when the token is not valid."""
Greeting: TypeAlias = "Callable[[Register], Sequence[Message]]"


async def no_accounts(_session_id: str, _token: str) -> None:
    """Resolve no token: every provider stays unlinked."""


def nothing_to_note(_session_id: str, _public_key: bytes, _account_id: str | None) -> None:
    """Note nothing when a session registers."""


def nobody_leaves(_session_id: str) -> None:
    """Note nothing when a session ends."""


def no_greeting(_register: Register) -> Sequence[Message]:
    """Send nothing after a registration."""
    return ()


@dataclass(slots=True, kw_only=True)
class LinkContext:
    """One per coordinator. `link_account` finds a session's account, `on_registered` and `on_left` hear of its time;
    `greeting` names the messages that follow a registration (`desired_models` for providers that know it).
    """

    registry: SessionRegistry
    desk: TrustDesk
    settings: LinkSettings = field(default_factory=LinkSettings)
    meter: LinkMeter = field(default_factory=CountingMeter)
    link_account: LinkAccount = no_accounts
    on_registered: Callable[[str, bytes, str | None], None] = nothing_to_note
    on_left: Callable[[str], None] = nobody_leaves
    greeting: Greeting = no_greeting
    housekeeper: Housekeeper = field(default_factory=Housekeeper)
    idle: IdleReads = field(default_factory=IdleReads)
    sessions: dict[str, ProviderSession] = field(default_factory=dict)
    sockets: UnregisteredSockets = field(init=False)
    rate: RegistrationRate = field(init=False)

    def __post_init__(self) -> None:
        """Build the counters from the settings."""
        self.sockets = UnregisteredSockets(self.settings)
        self.rate = RegistrationRate(self.settings)
