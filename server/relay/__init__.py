"""The relay: attempts, failover, streaming and settlement of inference requests."""

from __future__ import annotations

from server.relay.chunk_queue import QueueBounds
from server.relay.clocks import RelayTimes
from server.relay.funds import FreeOfCharge, Funds, ServedBy
from server.relay.history import AttemptLimits
from server.relay.job import Answered, Committed, Payer, Refused, RelayJob, RelayOutcome
from server.relay.relay import InferenceRelay
from server.relay.services import RelayObserver, RelayServices, SilentObserver
from server.relay.settlement import BilledUsage, Outcome, Settlement, SettlementRecord
from server.relay.timing import RequestStamps

__all__ = [
    "Answered",
    "AttemptLimits",
    "BilledUsage",
    "Committed",
    "FreeOfCharge",
    "Funds",
    "InferenceRelay",
    "Outcome",
    "Payer",
    "QueueBounds",
    "Refused",
    "RelayJob",
    "RelayObserver",
    "RelayOutcome",
    "RelayServices",
    "RelayTimes",
    "RequestStamps",
    "ServedBy",
    "Settlement",
    "SettlementRecord",
    "SilentObserver",
]
