"""The parts of a running daemon, and how the smaller ones are made from the larger."""

from dataclasses import dataclass

from protocol.identity import Signer
from provider.config import Places, ProviderSettings
from provider.daemon.hashing import HashKeeper
from provider.daemon.inventory import Inventory
from provider.daemon.options import DaemonOptions, DaemonSeams
from provider.daemon.provider import MachineFacts
from provider.daemon.upkeep import Upkeep
from provider.engine import Engine
from provider.link import LinkAddress
from provider.memory.gate import MemoryGate
from provider.models.slots import SlotManager


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What exists before requests are taken; `address` None means that no coordinator is connected."""

    options: DaemonOptions
    settings: ProviderSettings
    seams: DaemonSeams
    address: LinkAddress | None
    facts: MachineFacts
    signer: Signer
    inventory: Inventory
    hashes: HashKeeper
    gate: MemoryGate
    engine: Engine
    slots: SlotManager
    upkeep: Upkeep

    @property
    def places(self) -> Places:
        """Files of the home."""
        return Places(self.settings.state_directory)
