"""Quotes: what is admissible, and why something is not."""

import pytest

from protocol.messages.to_provider import CapacityProbe
from provider.engine import SlotSnapshot, SlotState
from provider.memory.quote import quote_capacity

PROBE = CapacityProbe(quote_id="q", model="m", prompt_tokens_bucket=1024, max_output_tokens=1024)


def slot(**changed):
    fields = {
        "model": "m",
        "state": SlotState.RUNNING,
        "running": 2,
        "waiting": 0,
        "paused": 0,
        "max_concurrency": 4,
        "active_tokens": 300,
        "max_tokens_potential": 4096,
        "budget_used": 4096,
        "budget_max": 96_000,
        "queued_budget": 0,
        "kv_bytes_per_token": 4096,
        "weight_bytes": 1,
        "decode_tps": 40.0,
        "prefill_tps": 512.0,
        "load_time_ms": 1.0,
        "steps_executed": 1,
        "admits": 9,
        "first_tokens_emitted": 9,
        "last_step_at": 1.0,
        "last_first_token_at": 1.0,
        "last_used_at": 1.0,
        **changed,
    }
    return SlotSnapshot(**fields)


def quote(found, *, takes_requests=True, headroom=2**40, probe=PROBE, like=()):
    return quote_capacity(probe, found, capacity_seq=7, takes_requests=takes_requests, headroom=headroom, like=like)


def test_room_for_it():
    answer = quote(slot())
    assert (answer.quote_id, answer.capacity_seq, answer.admissible_now) == ("q", 7, True)
    assert answer.rejection_reason == ""
    assert answer.available_token_budget == 96_000 - 4096
    assert (answer.ttft_p50_ms, answer.ttft_p90_ms, answer.confidence) == (2000.0, None, "low")


@pytest.mark.parametrize(
    ("found", "options", "reason"),
    [
        (None, {}, "slot_state"),
        (slot(state=SlotState.CRASHED), {}, "slot_state"),
        (slot(), {"takes_requests": False}, "slot_state"),
        (slot(running=4), {}, "slot_state"),
        (slot(budget_max=6000), {}, "token_budget"),
        (slot(queued_budget=91_000), {}, "token_budget"),
        (slot(), {"headroom": 4096 * 2047}, "token_budget"),
        (
            slot(),
            {"probe": CapacityProbe(quote_id="q", prompt_tokens_bucket=1024, deadline_remaining_ms=1999)},
            "deadline",
        ),
    ],
)
def test_no_room(found, options, reason):
    answer = quote(found, **options)
    assert not answer.admissible_now
    assert answer.rejection_reason == reason


def test_exactly_what_is_left_is_admissible():
    assert quote(slot(), headroom=4096 * 2048).admissible_now


def test_requests_like_it_give_percentiles():
    answer = quote(slot(), like=tuple(number / 10 for number in range(1, 11)))
    assert (answer.ttft_p50_ms, answer.ttft_p90_ms, answer.confidence) == (500.0, 900.0, "high")
    assert quote(slot(), like=(0.1, 0.2, 0.3, 0.4, 9.0)).ttft_p90_ms == 9000.0


def test_what_they_took_decides_over_the_deadline():
    probe = CapacityProbe(quote_id="q", prompt_tokens_bucket=1024, deadline_remaining_ms=1000)
    assert quote(slot(), probe=probe).rejection_reason == "deadline"
    assert quote(slot(), probe=probe, like=(0.1,) * 5).admissible_now


def test_few_samples_give_little_confidence():
    assert quote(slot(), like=(0.1,) * 4).confidence == "low"
    unmeasured = quote(slot(prefill_tps=None))
    assert (unmeasured.confidence, unmeasured.ttft_p50_ms) == ("low", None)
