"""Which machines may draw a base reward now: the port to the live fleet, and the rules. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from server.billing.ledger import COUNTER_ACCOUNTS
from server.rewards.floors import monthly_tier
from server.rewards.hardware import believed_memory_gb

MOST_MEMORY_PRESSURE: Final = 0.8
CRITICAL: Final = "critical"


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetMachine:
    """One live session. `is_public`: attested, trusted enough, and serving the public.

    `has_model`: a model that could be routed to is loaded. `order` is higher for later sessions of the same machine;
    `account_id` is empty when it is not linked. `memory_gb` is what the machine says, in whole GiB.
    """

    provider_key: str
    account_id: str
    machine_model: str
    memory_gb: int
    is_public: bool
    has_model: bool
    memory_pressure: float
    thermal: str
    order: int = 0
    provider_id: str = ""


class FleetSnapshot(Protocol):
    """The live fleet, as of now."""

    def machines(self) -> Sequence[FleetMachine]:
        """List the connected machines; synchronous, never blocks, never raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entitled:
    """A machine that may draw; `memory_gb` is what counts for its tier."""

    provider_key: str
    account_id: str
    provider_id: str
    memory_gb: int
    tier: int


def entitled_machines(machines: Iterable[FleetMachine]) -> dict[str, Entitled]:
    """Give the machines that pass all rules but those about time, by key; of several sessions the latest counts.

    Keys are public, and anybody can show that of another machine: a session that is not trusted counts for nothing, and
    of two machines with one key the first has it.
    """
    latest: dict[str, FleetMachine] = {}
    for machine in sorted(machines, key=lambda one: one.order):
        if machine.provider_key and machine.is_public:
            first = latest.get(machine.provider_key, machine)
            if first.provider_id == machine.provider_id:
                latest[machine.provider_key] = machine
    found = ((key, _entitled(machine)) for key, machine in sorted(latest.items()))
    return {key: entitled for key, entitled in found if entitled is not None}


def _entitled(machine: FleetMachine) -> Entitled | None:
    memory_gb = believed_memory_gb(machine.machine_model, machine.memory_gb)
    if memory_gb is None or not _is_healthy(machine) or not _is_linked(machine):
        return None
    tier = monthly_tier(memory_gb)
    if tier == 0:
        return None
    return Entitled(
        provider_key=machine.provider_key,
        account_id=machine.account_id,
        provider_id=machine.provider_id,
        memory_gb=memory_gb,
        tier=tier,
    )


def _is_healthy(machine: FleetMachine) -> bool:
    # Written so that a pressure which is not a number does not pass.
    return machine.has_model and machine.memory_pressure < MOST_MEMORY_PRESSURE and machine.thermal != CRITICAL


def _is_linked(machine: FleetMachine) -> bool:
    return bool(machine.account_id) and machine.account_id not in COUNTER_ACCOUNTS
