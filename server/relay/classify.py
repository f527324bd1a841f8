"""What a failure before content means for the request: stop, try the next provider, or give up its class.

Pure. Closed codes decide, then reasons, then causes; the text of a provider is never read, and what nobody knows is a
fault, so that it stays visible.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from protocol.failure import AttemptFailure


class FailureKind(Enum):
    """Why an attempt failed, as far as the next step depends on it."""

    CLIENT = "client"
    """The request itself is wrong: every provider would say so."""
    TEMPLATE = "template"
    """The model's chat template cannot render these messages."""
    UNSERVABLE = "unservable"
    """Too long for the model wherever it runs."""
    CAPACITY = "capacity"
    """This provider has no room now."""
    DRAINING = "draining"
    """This provider takes no new work; says nothing about its room."""
    TIMEOUT = "timeout"
    """No content in time."""
    NONCOMPLIANT = "noncompliant"
    """The model did not obey a forced tool or a schema; another machine may."""
    NEUTRAL = "neutral"
    """Nobody's fault."""
    FAULT = "fault"
    """The provider failed."""


STOPS: Final = frozenset({FailureKind.CLIENT, FailureKind.TEMPLATE, FailureKind.UNSERVABLE})
"""Kinds that end the request at once."""

SHUTDOWN_REASON: Final = "coordinator_shutdown"
"""We ourselves end the attempt because this coordinator stops."""

_CLIENT_CODES: Final = frozenset({"invalid_request", "invalid_media", "media_too_large", "unsupported_media"})
_TIMEOUT_REASONS: Final = frozenset({"first_content_timeout", "accepted_timeout"})


def classify(
    failure: AttemptFailure,
    *,
    provider_budget: int | None = None,
    context_window: int | None = None,
    request_bound: int | None = None,
) -> FailureKind:
    """The kind of one failure.

    `provider_budget` is the token budget that the provider last reported for the model, `context_window` the model's
    context, both in tokens: a provider whose whole budget is below the context says nothing about the others when it
    finds a request too large. Neither does one that finds a request too long which can have `request_bound` tokens at
    most and would fit into the context twice: it lacks room, or it lies.
    """
    if failure.reason == "tool_noncompliance":
        return FailureKind.NONCOMPLIANT
    if failure.code in _CLIENT_CODES:
        return FailureKind.CLIENT
    if failure.code == "template_render":
        return FailureKind.TEMPLATE
    if failure.code == "capacity":
        fits = request_bound is not None and context_window is not None and 2 * request_bound <= context_window
        return _capacity_kind(failure.reason, provider_budget, context_window, fits=fits)
    if failure.reason == SHUTDOWN_REASON:
        return FailureKind.DRAINING
    if failure.cause == "admission_timeout":
        return FailureKind.CAPACITY
    if failure.reason in _TIMEOUT_REASONS:
        return FailureKind.TIMEOUT
    if failure.health in ("neutral", "none"):
        return FailureKind.NEUTRAL
    return FailureKind.FAULT


def _capacity_kind(reason: str, provider_budget: int | None, context_window: int | None, *, fits: bool) -> FailureKind:
    if reason == "draining":
        return FailureKind.DRAINING
    if reason == "request_exceeds_context":
        return FailureKind.CAPACITY if fits else FailureKind.UNSERVABLE
    if reason == "request_exceeds_batch_token_budget":
        small = provider_budget is not None and context_window is not None and 0 < provider_budget < context_window
        return FailureKind.CAPACITY if small or fits else FailureKind.UNSERVABLE
    return FailureKind.CAPACITY
