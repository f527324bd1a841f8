"""Whether a change of load is worth a heartbeat of its own; pure. Source: provider rules, event heartbeats."""

from typing import Final

from protocol.messages.from_provider import Heartbeat, Slot

TOKENS: Final = 1024
PART: Final = 0.10


def is_significant(sent: Heartbeat, now: Heartbeat) -> bool:
    """Compare with the last heartbeat that was sent: slots, their states and rows, and admittable tokens."""
    if sent.status != now.status or sent.warm_models != now.warm_models:
        return True
    before, after = _slots(sent), _slots(now)
    if before.keys() != after.keys():
        return True
    if any(_rows(before[model]) != _rows(after[model]) for model in after):
        return True
    if any(_moved(admittable(before[model]), admittable(after[model])) for model in after):
        return True
    return _moved(sum(map(admittable, before.values())), sum(map(admittable, after.values())))


def admittable(slot: Slot) -> int:
    """Charged tokens that the slot could still take."""
    return slot.active_token_budget_max - slot.active_token_budget_used - slot.queued_token_budget


def _slots(beat: Heartbeat) -> dict[str, Slot]:
    return {} if beat.backend_capacity is None else {slot.model: slot for slot in beat.backend_capacity.slots}


def _rows(slot: Slot) -> tuple[str, int, int, int]:
    return slot.state, slot.num_running, slot.num_waiting, slot.max_concurrency


def _moved(before: int, after: int) -> bool:
    distance = abs(after - before)
    return distance >= TOKENS or (distance > 0 and distance >= PART * abs(before))
