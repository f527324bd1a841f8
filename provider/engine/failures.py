"""The fixed English text of every engine failure; none of them holds request content."""

from provider.engine.events import Cause, Failure

_TEXTS = {
    Cause.INVALID_REQUEST: "The prompt has no tokens, or tokens that the model does not know; change the messages.",
    Cause.MODEL_UNAVAILABLE: "The model is not loaded on this machine; try another machine or try again later.",
    Cause.QUEUE_FULL: "Too many requests wait for this model; try again later.",
    Cause.CAPACITY_BUSY: "This machine is short of memory and takes no new requests; try again later.",
    Cause.DEADLINE_UNREACHABLE: "The first token cannot be produced before the deadline; try another machine.",
    Cause.ADMISSION_TIMEOUT: "The request waited too long for a free place; try again later.",
    Cause.PREFILL_STALL: "The prompt was not processed in time; try again.",
    Cause.DECODE_STALL: "No token was produced for too long; try again.",
    Cause.SAFETY_DEADLINE: "The request ran longer than its size allows; lower max_tokens or try again.",
    Cause.BACKPRESSURE_TIMEOUT: "The output was not read for too long; read the stream faster.",
    Cause.WATCHDOG: "The inference engine does not answer; try again on another machine.",
    Cause.ENGINE_ERROR: "The inference engine failed; try again.",
    Cause.GENERATION_FAILURE: "The model produced no valid numbers for this request; change the prompt or try again.",
}


def failure(cause: Cause) -> Failure:
    """Return the failure of a cause whose text has no figures."""
    return Failure(cause, _TEXTS[cause])


def exceeds_context(prompt_tokens: int, context_tokens: int) -> Failure:
    """The prompt alone fills the model's context."""
    text = f"The prompt has {prompt_tokens} tokens, the model's limit is {context_tokens}; shorten the prompt."
    return Failure(Cause.REQUEST_EXCEEDS_CONTEXT, text)


def exceeds_node_budget(charged: int, maximum: int) -> Failure:
    """The request would not fit on this machine even alone."""
    text = f"The request needs {charged} tokens of cache, this machine has {maximum} in all; lower max_tokens."
    return Failure(Cause.REQUEST_EXCEEDS_NODE_BUDGET, text, maximum)


def budget_exhausted(charged: int, available: int) -> Failure:
    """The request does not fit beside what runs and waits now."""
    text = f"The request needs {charged} tokens of cache, {available} are free now; try again later."
    return Failure(Cause.TOKEN_BUDGET_EXHAUSTED, text, available)
