"""What rewards and owners' pages want to know of the live fleet, read from the registry."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import trio

from server.api.balances import MachineCounts
from server.registry import status
from server.registry.state import SlotState
from server.registry.views import is_draining
from server.rewards.fleet import FleetMachine

if TYPE_CHECKING:
    from server.registry import Registry
    from server.registry.state import Session


class FleetFacts:
    """A FleetSnapshot for base rewards, and the OwnedMachines of an owner's summary."""

    latest_version = ""
    min_version = ""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def machines(self) -> Sequence[FleetMachine]:
        """See FleetSnapshot."""
        trusted = {session.session_id for session in self._registry.trusted_sessions()}
        now = trio.current_time()
        return [_machine(one, is_trusted=one.session_id in trusted, now=now) for one in self._registry.sessions()]

    async def counts(self, account_id: str) -> MachineCounts:
        """See OwnedMachines; machines that are not connected are not known here."""
        await trio.lowlevel.checkpoint()
        now = trio.current_time()
        owned = self._registry.owned(account_id)
        states = [status(one, now) for one in owned]
        return MachineCounts(
            total=len(owned),
            online=sum(state in ("online", "serving", "draining") for state in states),
            serving=states.count("serving"),
            offline=states.count("offline"),
            untrusted=states.count("untrusted"),
            hardware=sum(one.trust.level == "hardware" for one in owned),
            needs_attention=sum(state in ("untrusted", "offline") for state in states),
        )

    def connected(self) -> Iterable[str]:
        """Name the sessions that are connected now."""
        return [one.session_id for one in self._registry.sessions() if one.connected]


def key_text(public_key: bytes) -> str:
    """A machine's public key as earnings and sessions name it."""
    return base64.b64encode(public_key).decode()


def _machine(session: Session, *, is_trusted: bool, now: float) -> FleetMachine:
    return FleetMachine(
        provider_key=key_text(session.caps.public_key),
        account_id=session.ident.account_id or "",
        machine_model=session.caps.hardware.machine_model,
        memory_gb=int(session.live.total_memory_gb or session.caps.hardware.memory_gb),
        is_public=is_trusted and not session.caps.private_only and not is_draining(session, now),
        has_model=any(slot.state is SlotState.RESIDENT for slot in session.slots.values()),
        memory_pressure=session.live.memory_pressure,
        thermal=session.live.thermal,
        order=session.ident.epoch,
        provider_id=session.ident.stable_id,
    )
