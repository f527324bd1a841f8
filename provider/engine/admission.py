"""Which rows may wait, and which may start; pure but for the rows it is asked about.

Source: provider rules, admission and batching, and memory policy.
"""

from provider.engine import failures
from provider.engine.events import Cause, Failure
from provider.engine.limits import EngineLimits
from provider.engine.model import LoadedModel
from provider.engine.prefill import is_long
from provider.engine.reservation import round_to_step
from provider.engine.row import Row
from provider.engine.rows import SlotRows


def budget_max(model: LoadedModel, rows: SlotRows, available_bytes: int, max_rows: int) -> int:
    """Largest charged-token figure that may be in use, given the free bytes and the rows that may run together."""
    free = available_bytes // max(1, model.kv_bytes_per_token)
    return min(rows.charged_tokens + free, max_rows * round_to_step(model.context_tokens))


def refusal_of(
    row: Row, model: LoadedModel, rows: SlotRows, limits: EngineLimits, *, available_bytes: int, max_rows: int
) -> Failure | None:
    """Why a row can never run here, or may not wait now; None when it may."""
    context = model.context_tokens
    tokens = row.request.prompt_tokens
    if not row.prompt_length or not 0 <= min(tokens) <= max(tokens) < model.logits_size:
        return failures.failure(Cause.INVALID_REQUEST)
    if row.prompt_length >= context:
        return failures.exceeds_context(row.prompt_length, context)
    if row.max_tokens == 0 or row.request.warm_up:
        return None
    if len(rows.waiting) >= limits.max_waiting:
        return failures.failure(Cause.QUEUE_FULL)
    charged = round_to_step(row.reserved)
    maximum = budget_max(model, rows, available_bytes, max_rows)
    if charged > maximum:
        return failures.exceeds_node_budget(charged, maximum)
    growth = rows.growth(row)
    free = available_bytes // max(1, model.kv_bytes_per_token) - rows.queued_tokens
    if growth > free:
        return failures.budget_exhausted(growth, max(0, free))
    return None


def must_wait(row: Row, rows: SlotRows, free_bytes: int, prefill_speed: float | None) -> bool:
    """Whether a waiting row does not fit now, or is a second long prefill beside another."""
    if rows.cost(row) > free_bytes and not row.request.warm_up:
        return True
    decoding = rows.is_stepping
    return is_long(row.prompt_length, prefill_speed, decoding=decoding) and any(
        is_long(other.prompt_length, prefill_speed, decoding=decoding) for other in rows.prefilling()
    )
