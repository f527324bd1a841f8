"""What each message of a registered provider does; one function per message type, called in frame order."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from protocol.messages.from_provider import (
    AttestationResponse,
    CapacityQuote,
    CodeAttestationResponse,
    Heartbeat,
    InferenceAccepted,
    InferenceComplete,
    InferenceError,
    InferenceResponseChunk,
    LoadModelStatus,
    ModelsUpdate,
    PrefetchModelStatus,
    ProviderDrain,
    Register,
)
from protocol.messages.to_provider import ProviderDrainAck

if TYPE_CHECKING:
    from protocol.messages.from_provider import FromProvider
    from server.link.session import ProviderSession


def handle(session: ProviderSession, message: FromProvider, now: float) -> None:
    """Do what the message asks for; `now` is trio's clock."""
    _HANDLERS[type(message)](session, message, now)


def _heartbeat(session: ProviderSession, message: Heartbeat, now: float) -> None:
    session.heartbeat(message, now)


def _chunk(session: ProviderSession, message: InferenceResponseChunk, now: float) -> None:
    session.attempts.chunk(message, now)


def _accepted(session: ProviderSession, message: InferenceAccepted, _now: float) -> None:
    session.attempts.accepted(message)


def _complete(session: ProviderSession, message: InferenceComplete, _now: float) -> None:
    session.attempts.completed(message)


def _error(session: ProviderSession, message: InferenceError, _now: float) -> None:
    session.attempts.failed(message)


def _challenge_answer(session: ProviderSession, message: AttestationResponse, now: float) -> None:
    session.trust.answered(message, now)
    session.plan()


def _load_status(session: ProviderSession, message: LoadModelStatus, now: float) -> None:
    session.context.registry.load_model_status(session.session_id, message, now)


def _models_update(session: ProviderSession, message: ModelsUpdate, now: float) -> None:
    session.trust.advertised(message.models)
    session.context.registry.models_update(session.session_id, message, now)


def _drain(session: ProviderSession, message: ProviderDrain, now: float) -> None:
    session.context.registry.mark_draining(session.session_id, now)
    # Frames are handled in order, so every terminal before this one has reached its attempt already.
    session.send(ProviderDrainAck(request_id=message.request_id))


def _second_register(session: ProviderSession, _message: Register, _now: float) -> None:
    session.context.meter.count("second_register")
    session.close(1002, "a connection registers once")


def _ignored(session: ProviderSession, _message: FromProvider, _now: float) -> None:
    session.context.meter.count("ignored_message")


_HANDLERS: dict[type[FromProvider], Callable[[ProviderSession, Any, float], None]] = {
    Heartbeat: _heartbeat,
    InferenceResponseChunk: _chunk,
    InferenceAccepted: _accepted,
    InferenceComplete: _complete,
    InferenceError: _error,
    AttestationResponse: _challenge_answer,
    LoadModelStatus: _load_status,
    ModelsUpdate: _models_update,
    ProviderDrain: _drain,
    Register: _second_register,
    PrefetchModelStatus: _ignored,
    CodeAttestationResponse: _ignored,
    CapacityQuote: _ignored,
}
