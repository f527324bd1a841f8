"""What a connection needs of the provider behind it."""

from collections.abc import Callable, Sequence
from typing import Protocol

from protocol.messages.from_provider import (
    AttestationResponse,
    CapacityQuote,
    Heartbeat,
    ModelEntry,
    PrefetchModelStatus,
    Register,
)
from protocol.messages.to_provider import AttestationChallenge, CapacityProbe, DesiredModel, InferenceRequest
from provider.requests.ports import FrameLane


class ProviderPort(Protocol):
    """Implemented by the daemon; synchronous calls never block."""

    async def register_frame(self, registration_nonce: str) -> Register:
        """Build the registration with facts measured and signed now; the nonce is the upgrade answer's, or ""."""

    async def challenge_reply(self, challenge: AttestationChallenge) -> AttestationResponse:
        """Answer with posture measured now."""

    async def heartbeat(self, capacity_seq: int) -> Heartbeat:
        """Measure load and capacity now."""

    def models(self) -> tuple[ModelEntry, ...]:
        """All offered models."""

    def constrained_models(self) -> tuple[str, ...]:
        """Offered models whose forced tool calls are enforced."""

    @property
    def models_version(self) -> int:
        """Grows whenever `models` changes."""

    async def wait_models(self, seen: int) -> int:
        """Wait until `models_version` differs from `seen` and return it."""

    async def load_model(self, model_id: str) -> str | None:
        """Make a model resident; gives None when it is, else the error text of the wire."""

    async def prefetch_model(self, model_id: str, report: Callable[[PrefetchModelStatus], None]) -> None:
        """Download a model in the background; what comes of it goes to `report`."""

    def desire_models(self, models: Sequence[DesiredModel]) -> None:
        """Note which builds the coordinator wants here."""

    def quote(self, probe: CapacityProbe, capacity_seq: int) -> CapacityQuote:
        """Say whether a request of this size would be taken now."""

    def accept_request(self, message: InferenceRequest, lane: FrameLane) -> None:
        """Take a request whose frames go to `lane`."""

    def cancel_request(self, request_id: str) -> None:
        """End a request early; unknown ids are ignored."""

    def connection_lost(self, owner: object) -> None:
        """Cancel what came over this connection."""
