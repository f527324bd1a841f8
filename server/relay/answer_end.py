"""The end of an answer from the provider's completion message. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.api.ending import UsageReport
from server.relay.settlement import BilledUsage, Outcome

if TYPE_CHECKING:
    from protocol.messages.from_provider import InferenceComplete
    from server.relay.job import RelayJob

MAX_RECEIPT_CHARACTERS: Final = 8192


def billed_usage(complete: InferenceComplete, job: RelayJob) -> BilledUsage:
    """What may be charged.

    A provider cannot claim more output than it was asked for, more prompt than the hold was taken for, nor more cache
    than prompt.
    """
    usage = complete.usage
    prompt = min(usage.prompt_tokens, job.prompt_bound)
    completion = min(usage.completion_tokens, job.max_tokens)
    return BilledUsage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        reasoning_tokens=min(usage.reasoning_tokens, completion),
        cached_tokens=min(usage.cached_tokens, prompt) if usage.cached_tokens <= usage.prompt_tokens else 0,
    )


def usage_report(usage: BilledUsage) -> UsageReport:
    """The same numbers as the client sees them."""
    return UsageReport(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cached_tokens=usage.cached_tokens,
    )


def receipt_member(complete: InferenceComplete) -> dict[str, object]:
    """The signed receipt beside the answer, under our own key; empty without one."""
    extension = complete.darkbloom
    if extension is None or not extension.receipt or not extension.receipt_signature:
        return {}
    if max(len(extension.receipt), len(extension.receipt_signature)) > MAX_RECEIPT_CHARACTERS:
        return {}
    return {"darkbloom": {"receipt": extension.receipt, "receipt_signature": extension.receipt_signature}}


def outcome_of_status(status: int) -> Outcome:
    """The outcome of a request that ended with an error status."""
    if status == 429:
        return Outcome.RATE_LIMITED
    if status == 499:
        return Outcome.CLIENT_GONE
    if status == 504:
        return Outcome.TIMEOUT
    if status == 500:
        return Outcome.INTERNAL_ERROR
    if status < 500:
        return Outcome.CLIENT_ERROR
    return Outcome.PROVIDER_ERROR
