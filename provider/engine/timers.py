"""When a row has taken too long, and why."""

from provider.engine.events import Cause
from provider.engine.limits import EngineLimits
from provider.engine.row import Row

ASSUMED_PREFILL_TPS = 100.0
"""Prompt speed assumed for the safety ceiling before one was measured; slow on purpose."""


def overdue(row: Row, now: float, limits: EngineLimits, prefill_tps: float | None) -> Cause | None:
    """Return the cause for which the row must end now, or None.

    A waiting row is judged by its deadline and the admission timeout, a running one by the time since its last token
    and the ceiling on its whole run, a paused one only by how long its reader has kept it waiting.
    """
    if row.paused_at is not None:
        return Cause.BACKPRESSURE_TIMEOUT if now - row.paused_at >= limits.backpressure_timeout else None
    if row.first_token_at is None and row.request.deadline is not None and now > row.request.deadline:
        return Cause.DEADLINE_UNREACHABLE
    if row.admitted_at is None:
        return Cause.ADMISSION_TIMEOUT if now - row.submitted_at >= limits.admission_timeout else None
    if row.last_token_at is None:
        return Cause.PREFILL_STALL if now - row.admitted_at >= limits.first_token_timeout else None
    if now - row.last_token_at >= limits.decode_timeout:
        return Cause.DECODE_STALL
    ceiling = (
        row.prompt_length / (prefill_tps or ASSUMED_PREFILL_TPS)
        + row.max_tokens / limits.safety_tokens_per_second
        + limits.safety_grace
        + row.paused_seconds
    )
    return Cause.SAFETY_DEADLINE if now - row.admitted_at >= ceiling else None


def can_meet_deadline(row: Row, now: float, prefill_tps: float | None) -> bool:
    """Whether a waiting row may still give its first token in time if it starts now."""
    deadline = row.request.deadline
    if deadline is None:
        return True
    prefill = row.prompt_length / prefill_tps if prefill_tps else 0.0
    return now + prefill <= deadline
