"""The answer to "could you take a request of this size now?", from one published engine snapshot; pure.

It reserves nothing. Source: provider rules, capacity quote.
"""

from typing import Final

from protocol.messages.from_provider import CapacityQuote
from protocol.messages.to_provider import CapacityProbe
from provider.engine import SlotSnapshot, SlotState
from provider.engine.reservation import round_to_step

SAMPLES_FOR_HIGH: Final = 5
_SERVING: Final = (SlotState.IDLE, SlotState.RUNNING)


def quote_capacity(
    probe: CapacityProbe, slot: SlotSnapshot | None, *, capacity_seq: int, takes_requests: bool, headroom: int
) -> CapacityQuote:
    """Judge a request against a slot (None: the model is not resident) and the free cache bytes of this moment."""
    if slot is None or slot.state not in _SERVING or not takes_requests:
        return CapacityQuote(
            quote_id=probe.quote_id,
            capacity_seq=capacity_seq,
            admissible_now=False,
            rejection_reason="slot_state",
            confidence="low",
        )
    room = headroom // max(1, slot.kv_bytes_per_token)
    budget = min(slot.budget_max, slot.budget_used + room)
    free = max(0, budget - slot.budget_used - slot.queued_budget)
    charged = round_to_step(max(0, probe.prompt_tokens_bucket) + max(0, probe.max_output_tokens))
    ttft = probe.prompt_tokens_bucket / slot.prefill_tps * 1000 if slot.prefill_tps else None
    is_free = slot.running + slot.waiting < slot.max_concurrency
    late = ttft is not None and 0 < probe.deadline_remaining_ms < ttft
    reason = "token_budget" if charged > free else "slot_state" if not is_free else "deadline" if late else ""
    return CapacityQuote(
        quote_id=probe.quote_id,
        capacity_seq=capacity_seq,
        admissible_now=not reason,
        rejection_reason=reason,
        ttft_p50_ms=ttft,
        queue_est_ms=0.0 if is_free else None,
        available_token_budget=free,
        confidence="high" if ttft is not None and slot.first_tokens_emitted >= SAMPLES_FOR_HIGH else "low",
    )
