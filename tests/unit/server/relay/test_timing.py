"""X-Timing: disjoint segments whose sum is the total."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from server.relay.timing import AttemptTiming, RequestStamps


def test_segments_add_up_to_the_time_that_passed() -> None:
    timing = AttemptTiming(RequestStamps(received=1.0, parsed=1.25, reserved=1.5), 1.5)
    timing.selected(3.0, queued_seconds=1.0)
    timing.sealed(3.125)
    timing.sent(3.25)
    timing.content(4.25)
    assert json.loads(timing.header()) == {
        "parse_us": 250_000,
        "reserve_us": 250_000,
        "route_us": 500_000,
        "queue_us": 1_000_000,
        "encrypt_us": 125_000,
        "dispatch_us": 125_000,
        "provider_us": 1_000_000,
        "total_us": 3_250_000,
    }
    assert " " not in timing.header()


def test_an_answer_before_the_send_returned_counts_no_time_twice() -> None:
    timing = AttemptTiming(RequestStamps(received=0, parsed=0, reserved=0), 0)
    timing.selected(0, queued_seconds=0)
    timing.sealed(0)
    timing.content(1.0)
    timing.sent(2.0)
    assert timing.segments()["dispatch_us"] == 1_000_000
    assert timing.segments()["provider_us"] == 0


@given(st.lists(st.floats(0, 10), min_size=7, max_size=7))
def test_no_segment_is_ever_negative(steps: list[float]) -> None:
    moments = [sum(steps[: place + 1]) for place in range(7)]
    timing = AttemptTiming(RequestStamps(received=moments[0], parsed=moments[1], reserved=moments[2]), moments[2])
    timing.selected(moments[3], queued_seconds=moments[3] - moments[2])
    timing.sealed(moments[4])
    timing.sent(moments[5])
    timing.content(moments[6])
    segments = timing.segments()
    total = segments.pop("total_us")
    assert all(value >= 0 for value in segments.values())
    assert total == sum(segments.values())
