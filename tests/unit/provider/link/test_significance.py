"""Changes worth an event heartbeat."""

import msgspec
import pytest

from protocol.messages.from_provider import BackendCapacity, Heartbeat, Slot
from provider.link.significance import is_significant

SLOT = Slot(model="a", state="idle", max_concurrency=8, active_token_budget_max=100_000)


def beat(*slots, **fields):
    return Heartbeat(status="idle", backend_capacity=BackendCapacity(slots=slots), **fields)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, False),
        ({"state": "running"}, True),
        ({"num_running": 1}, True),
        ({"num_waiting": 1}, True),
        ({"max_concurrency": 7}, True),
        ({"active_token_budget_used": 1023}, False),
        ({"active_token_budget_used": 1024}, True),
        ({"queued_token_budget": 1024}, True),
        ({"active_token_budget_max": 101_023}, False),
        ({"observed_decode_tps": 10.0}, False),
        ({"active_tokens": 5000}, False),
    ],
)
def test_changes_of_a_slot(changes, expected):
    assert is_significant(beat(SLOT), beat(msgspec.structs.replace(SLOT, **changes))) is expected


def test_a_tenth_of_a_small_budget_counts():
    small = msgspec.structs.replace(SLOT, active_token_budget_max=1000)
    assert is_significant(beat(small), beat(msgspec.structs.replace(small, active_token_budget_used=100)))
    assert not is_significant(beat(small), beat(msgspec.structs.replace(small, active_token_budget_used=99)))


def test_the_total_counts_when_no_slot_moves_enough():
    slots = [msgspec.structs.replace(SLOT, model=name) for name in "abcd"]
    moved = [msgspec.structs.replace(slot, active_token_budget_used=300) for slot in slots]
    assert is_significant(beat(*slots), beat(*moved))


def test_slots_status_and_warm_models_count():
    assert is_significant(beat(), beat(SLOT))
    assert is_significant(beat(SLOT), beat())
    assert is_significant(beat(SLOT), msgspec.structs.replace(beat(SLOT), status="draining"))
    assert is_significant(beat(SLOT), beat(SLOT, warm_models=("a",)))
