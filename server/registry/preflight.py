"""What to do with a request that has no place: refuse it with the right status, or let it wait. Pure functions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from server.registry.decision import Decision, Enqueue, Refusal
from server.registry.queue import QueueFailure
from server.registry.reasons import Reason
from server.registry.request import SelfRoute
from server.registry.retry_after import MAX_SECONDS, MIN_SECONDS, ttft_seconds
from server.registry.servability import exceeds_context

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from server.registry.gates import GateContext
    from server.registry.pool import Pool
    from server.registry.request import RoutedRequest, Traits
    from server.registry.state import Session

OFFLINE_RETRY_MS: Final = 30_000
NOT_LOADED_RETRY_MS: Final = 15_000


def refuse_early(request: RoutedRequest, context: GateContext, retry_ms: Callable[[], int]) -> Refusal | None:
    """Refuse what no provider needs to be looked at for: unknown model, shed model, context overflow.

    `retry_ms` is worked out for those alone who are told to come back.
    """
    model = request.public_model or request.model
    if not context.catalog.knows(request.model):
        return Refusal(
            status=404,
            error_type="model_not_found",
            code="model_not_found",
            reason="model_not_found",
            message=f"The model {_shown(model)!r} does not exist; GET /v1/models lists the models that do.",
            param="model",
        )
    policy = context.policy
    if policy.reject_models & {request.model, request.public_model}:
        return rate_limited("model_shed", "This model takes no requests for the moment; try again later.", retry_ms())
    window = context.catalog.context_window(request.model)
    if policy.servability_gate and exceeds_context(request.model, request.prompt_tokens, request.max_tokens, window):
        return _context_exceeded(request, window, context, retry_ms)
    return None


def _context_exceeded(
    request: RoutedRequest, window: int, context: GateContext, retry_ms: Callable[[], int]
) -> Refusal:
    text = (
        f"The request needs {request.prompt_tokens} prompt and {request.max_tokens} output tokens, more than the "
        f"model's context of {window} tokens; shorten the prompt or lower max_tokens."
    )
    if context.policy.context_overflow_status == 429:
        return rate_limited("context_exceeded", text, retry_ms(), retryable=False)
    return Refusal(
        status=400,
        error_type="invalid_request_error",
        code="context_length_exceeded",
        reason="context_exceeded",
        message=text,
        param="messages",
    )


def judge(
    request: RoutedRequest,
    decision: Decision,
    *,
    pool: Pool | None,
    owned: Collection[Session],
    context: GateContext,
    retry_ms: int,
) -> Enqueue | Refusal:
    """Say what happens to a request that got no reservation; the first rule that matches wins.

    `pool` sums up the providers that advertise the model, `owned` are all live machines of the caller (looked at only
    when it asked for these alone). Only a first attempt may wait: later ones are refused and the caller returns its
    last real error instead. Nothing here looks at every provider.
    """
    if request.self_route is SelfRoute.EXCLUSIVE:
        return _judge_own_machines(request, decision, owned=owned, retry_ms=retry_ms)
    missing = _missing_capability(request.traits, pool)
    if missing is not None:
        return _unavailable(
            f"No connected machine can serve this model with {missing}; choose another model.", decision
        )
    capacity = decision.capacity_rejections
    may_wait = context.policy.queue_before_shed and request.attempt == 1
    if context.policy.servability_gate and capacity and _never_fits(request, pool):
        return rate_limited(
            "prompt_too_long",
            f"The request needs {request.need} tokens, more than any connected machine can hold; shorten the prompt or "
            "lower max_tokens.",
            retry_ms,
            decision=decision,
            retryable=False,
        )
    if decision.rejected(Reason.TTFT_CEILING) and not capacity:
        if may_wait and pool is not None and not pool.warm:
            return Enqueue(decision=decision, model=request.model)  # for a machine that loads the model first
        return _too_slow(request, decision, context, retry_ms)
    if decision.rejected(Reason.MODEL_TOO_LARGE) and not capacity:
        return _unavailable("This model fits no connected machine; choose a smaller one.", decision)
    # A machine that is loading the model right now is as good as one without room: waiting for it is worth it.
    if capacity or decision.rejected(Reason.SLOT_RELOADING):
        if may_wait:
            return Enqueue(decision=decision, model=request.model)
        return rate_limited(
            "machine_busy", "All machines that serve this model are busy; try again.", retry_ms, decision=decision
        )
    return rate_limited(
        "no_provider", "No machine serves this model right now; try again.", retry_ms, decision=decision
    )


def _judge_own_machines(
    request: RoutedRequest, decision: Decision, *, owned: Collection[Session], retry_ms: int
) -> Enqueue | Refusal:
    if not request.has_linked_machine and not owned:
        return _own(
            409, "no_linked_machine", "No machine is linked to this account; link one or route publicly.", decision
        )
    if not owned:
        text = "None of your machines is online; start one or route publicly."
        return _own(503, "machine_offline", text, decision, OFFLINE_RETRY_MS)
    serving = [one for one in owned if request.model in one.caps.models]
    if not serving:
        text = "None of your machines offers this model; enable it on one or route publicly."
        return _own(503, "model_not_loaded", text, decision, NOT_LOADED_RETRY_MS)
    if decision.capacity_rejections or decision.rejected(Reason.SLOT_RELOADING):
        if request.attempt == 1:
            return Enqueue(decision=decision, model=request.model)
        return own_machine_busy(retry_ms, decision)
    incapable = decision.rejected(Reason.TRAIT_FLOOR) + decision.rejected(Reason.VISION)
    too_large = decision.rejected(Reason.MODEL_TOO_LARGE)
    if incapable + too_large >= len(serving):
        return Refusal(
            status=503,
            error_type="model_unavailable",
            code="model_capability_unsupported" if incapable else "model_unavailable",
            reason="model_capability_unsupported" if incapable else "model_too_large",
            message="Your machines offer this model, but cannot serve a request of this kind; route publicly.",
            retryable=False,
            decision=decision,
        )
    text = "Your machine is connected but not ready to serve (its checks are pending or failed); look at its status."
    return _own(503, "machine_offline", text, decision, OFFLINE_RETRY_MS)


def is_served(traits: Traits, pool: Pool | None) -> bool:
    """Whether anybody connected has what a request of this kind wants; nobody connected is a matter of its own."""
    return _missing_capability(traits, pool) is None


def _missing_capability(traits: Traits, pool: Pool | None) -> str | None:
    """Name the capability that no connected provider of the model has; nobody connected is not a missing capability."""
    if pool is None:
        return None
    if traits.requires_vision and not pool.offers(vision=True):
        return "image input"
    if traits.requires_tool_constraint and not pool.offers(constraint=True):
        return "a forced tool choice"
    if traits.has_tools and not pool.offers(tools=True):
        return "tools"
    if not pool.offers(features=traits.required_features):
        return f"the feature {', '.join(sorted(traits.required_features))}"
    return None


def _never_fits(request: RoutedRequest, pool: Pool | None) -> bool:
    """Whether the request is larger than what any eligible provider, now merely full, could ever hold."""
    largest = pool.largest_budget() if pool is not None else None
    # 0: nobody is eligible, which says nothing of the request.
    return largest is not None and 0 < largest < request.need


def _too_slow(request: RoutedRequest, decision: Decision, context: GateContext, retry_ms: int) -> Refusal:
    deadline = context.policy.first_content_deadline_ms(request.prompt_tokens)
    best = decision.best_ttft_ms if decision.best_ttft_ms is not None else deadline
    seconds = ttft_seconds(best / 1000, deadline / 1000, math.ceil(retry_ms / 1000))
    return rate_limited(
        "ttft_too_slow", "No machine can start answering in time; try again.", seconds * 1000, decision=decision
    )


def queue_refusal(request: RoutedRequest, failure: QueueFailure, decision: Decision, retry_ms: int) -> Refusal:
    """Turn a queue outcome into the client's answer."""
    if failure is QueueFailure.MODEL_REMOVED:
        return Refusal(
            status=404,
            error_type="model_not_found",
            code="model_not_found",
            reason="model_not_found",
            message="The model was removed while the request waited; GET /v1/models lists the models that exist.",
            param="model",
            decision=decision,
        )
    if failure is QueueFailure.INCAPABLE:
        return _unavailable("The last machine that serves such requests with this model went away.", decision)
    if request.self_route is SelfRoute.EXCLUSIVE:
        return own_machine_busy(retry_ms, decision)
    text = {
        QueueFailure.QUEUE_FULL: "The queue of this model is full; try again.",
        QueueFailure.ACCOUNT_FULL: "This account has its full share of waiting requests for this model; try again.",
        QueueFailure.TOO_LONG: "The queue of this model is too long to be served in time; try again.",
        QueueFailure.TIMED_OUT: "The request timed out waiting for a free machine; try again.",
        QueueFailure.NO_PROVIDER: "The last machine that serves this model went away; try again.",
    }[failure]
    return rate_limited(failure.value, text, retry_ms, decision=decision)


def own_machine_busy(retry_ms: int, decision: Decision | None = None) -> Refusal:
    """429 for an exclusive self-route whose machines are full."""
    return _own(429, "machine_busy", "Your machine is busy; try again.", decision, retry_ms)


def rate_limited(
    reason: str, message: str, retry_ms: int, *, decision: Decision | None = None, retryable: bool | None = None
) -> Refusal:
    """429 with `Retry-After` within 2..60 s: every transient lack of capacity."""
    bounded = min(int(MAX_SECONDS * 1000), max(int(MIN_SECONDS * 1000), retry_ms))
    return Refusal(
        status=429,
        error_type="rate_limit_exceeded",
        code="rate_limit_exceeded",
        reason=reason,
        message=message,
        retry_after_ms=bounded,
        retryable=retryable,
        decision=decision,
    )


def _unavailable(message: str, decision: Decision) -> Refusal:
    """503 without `Retry-After`: waiting cannot help."""
    return Refusal(
        status=503,
        error_type="model_unavailable",
        code="model_unavailable",
        reason="model_unavailable",
        message=message,
        retryable=False,
        decision=decision,
    )


def _own(status: int, code: str, message: str, decision: Decision | None, retry_after_ms: int | None = None) -> Refusal:
    return Refusal(
        status=status,
        error_type=code,
        code=code,
        reason=code,
        message=message,
        retry_after_ms=retry_after_ms,
        retryable=False if retry_after_ms is None else None,
        decision=decision,
    )


def _shown(name: str) -> str:
    return name if len(name) <= 100 else name[:100] + "…"
