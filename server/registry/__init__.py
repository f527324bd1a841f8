"""Provider registry: who is connected, who may serve a request, and who waits for a place."""

from server.ports import TrustState
from server.registry.audit import AuditFinding
from server.registry.capacity import ModelCapacity
from server.registry.catalog import Catalog, CatalogEntry
from server.registry.decision import Candidate, CostTerms, Decision, Dispatch, Enqueue, Refusal, Verdict
from server.registry.faults import FaultMemory, FaultView
from server.registry.ledger import ReleaseCause, Reservation, ReservationState
from server.registry.maintenance import run_maintenance
from server.registry.policy import RoutingPolicy
from server.registry.queue import QueueFailure, Waiter
from server.registry.reasons import Reason
from server.registry.registry import Registry
from server.registry.request import PREFIX_DEPTHS, PrefixKey, RoutedRequest, SelfRoute, Traits
from server.registry.state import LoadCause, Session
from server.registry.views import current_model, status, warm_models
from server.registry.waiting import wait_in_queue

__all__ = [
    "PREFIX_DEPTHS",
    "AuditFinding",
    "Candidate",
    "Catalog",
    "CatalogEntry",
    "CostTerms",
    "Decision",
    "Dispatch",
    "Enqueue",
    "FaultMemory",
    "FaultView",
    "LoadCause",
    "ModelCapacity",
    "PrefixKey",
    "QueueFailure",
    "Reason",
    "Refusal",
    "Registry",
    "ReleaseCause",
    "Reservation",
    "ReservationState",
    "RoutedRequest",
    "RoutingPolicy",
    "SelfRoute",
    "Session",
    "Traits",
    "TrustState",
    "Verdict",
    "Waiter",
    "current_model",
    "run_maintenance",
    "status",
    "wait_in_queue",
    "warm_models",
]
