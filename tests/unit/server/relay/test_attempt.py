"""One attempt by itself: when the pump may write for it, and when no more."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from server.relay.attempt import Attempt
from server.relay.attempt_state import Event, Phase


class Recorder:
    """Stands in for everything around an attempt and remembers the calls by name."""

    cold = False
    written_at = 0.0

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_args, **_more: self.calls.append(name)


def attempt(around: Any) -> Attempt:
    return Attempt(
        request_id="r",
        channel=around,
        hold=around,
        sink=around,
        clock=around,
        timing=around,
        wake=lambda: None,
    )


LEAVES_COMMIT = [
    Event.COMPLETED,
    Event.FAILED,
    Event.CUT,
    Event.CONSUMER_GONE,
    Event.OVERFLOW,
    Event.SHUTDOWN,
]


@pytest.mark.parametrize("event", LEAVES_COMMIT, ids=lambda event: event.value)
async def test_the_pump_writes_nothing_more_once_the_attempt_left_commit(event: Event) -> None:
    around = Recorder()
    one = attempt(around)
    one.apply(Event.CONTENT)
    assert "stop" not in around.calls
    one.apply(event)
    assert one.phase is not Phase.COMMITTED
    assert around.calls.count("stop") == 1
    assert around.calls.index("stop") < around.calls.index("release")


async def test_an_attempt_that_fails_before_content_leaves_the_way_out_to_the_next() -> None:
    around = Recorder()
    attempt(around).apply(Event.FAILED)
    assert "release" in around.calls
    assert "stop" not in around.calls


async def test_a_spout_is_given_to_a_committed_attempt_only() -> None:
    around = Recorder()
    one = attempt(around)
    one.connect(Recorder())  # type: ignore[arg-type]
    assert "set_spout" not in around.calls
    one.apply(Event.CONTENT)
    one.connect(Recorder())  # type: ignore[arg-type]
    assert around.calls.count("set_spout") == 1
    one.apply(Event.OVERFLOW)
    one.connect(Recorder())  # type: ignore[arg-type]
    assert around.calls.count("set_spout") == 1


async def test_the_last_chunk_is_the_later_of_what_came_up_and_what_the_pump_wrote(autojump_clock: object) -> None:
    around = Recorder()
    one = attempt(around)
    began = trio.current_time()
    assert one.last_chunk_at == began
    around.written_at = began + 5
    assert one.last_chunk_at == began + 5
    around.written_at = began - 5
    assert one.last_chunk_at == began
