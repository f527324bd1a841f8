"""The answer to "could you take a request of this size now?", from one published engine snapshot; pure.

It reserves nothing. Source: provider rules, capacity quote.
"""

from collections.abc import Sequence
from typing import Final

from protocol.messages.from_provider import CapacityQuote
from protocol.messages.to_provider import CapacityProbe
from provider.engine import SlotSnapshot, SlotState
from provider.engine.reservation import round_to_step

SAMPLES_FOR_HIGH: Final = 5
_SERVING: Final = (SlotState.IDLE, SlotState.RUNNING)


def quote_capacity(
    probe: CapacityProbe,
    slot: SlotSnapshot | None,
    *,
    capacity_seq: int,
    takes_requests: bool,
    headroom: int,
    like: Sequence[float] = (),
) -> CapacityQuote:
    """Judge a request against a slot (None: the model is not resident) and the free cache bytes of this moment.

    `like` are the seconds to the first delta of requests like this one, sorted. Few of them give no percentiles: then
    the forecast is the prompt's length by the speed of prompts.
    """
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
    is_known = len(like) >= SAMPLES_FOR_HIGH
    by_speed = probe.prompt_tokens_bucket / slot.prefill_tps * 1000 if slot.prefill_tps else None
    ttft = nearest_rank(like, 50) * 1000 if is_known else by_speed
    is_free = slot.running + slot.waiting < slot.max_concurrency
    late = ttft is not None and 0 < probe.deadline_remaining_ms < ttft
    reason = "token_budget" if charged > free else "slot_state" if not is_free else "deadline" if late else ""
    return CapacityQuote(
        quote_id=probe.quote_id,
        capacity_seq=capacity_seq,
        admissible_now=not reason,
        rejection_reason=reason,
        ttft_p50_ms=ttft,
        ttft_p90_ms=nearest_rank(like, 90) * 1000 if is_known else None,
        queue_est_ms=0.0 if is_free else None,
        available_token_budget=free,
        confidence="high" if is_known else "low",
    )


def nearest_rank(ordered: Sequence[float], percent: int) -> float:
    """Give a percentile of what is sorted and not empty, by the nearest rank."""
    return ordered[max(0, -(-percent * len(ordered) // 100) - 1)]
