"""A crash of the coordinator while it handles an answer: never the provider's fault, and told as what it is."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from server.registry import Reason
from server.relay import Outcome, Refused
from server.relay.chat_sink import StreamSink
from server.relay.outlet import Outlet
from tests.unit.server.relay.relay_world import MODEL, Served, delta, open_world, saying


def crash(*_arguments: Any) -> Any:
    raise RuntimeError("a bug of ours; the text of the user")


def strikes(world: Any) -> list[Reason | None]:
    now = trio.current_time()
    return [world.registry.faults.pair(f"dev-{name}", MODEL, now).rejection("base") for name in ("a", "b")]


async def test_before_content_the_next_provider_serves(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, calls = StreamSink.opened, []

    def opened(self: StreamSink, plaintext: bytes, now: float) -> Any:
        calls.append(1)
        return crash() if len(calls) == 1 else real(self, plaintext, now)

    monkeypatch.setattr(StreamSink, "opened", opened)
    async with open_world() as world:
        channels = [world.provider(name, saying("ok")) for name in ("a", "b")]
        _, consumer = await world.ask()
        assert consumer.text == "ok"
        assert [len(channel.seen) for channel in channels] == [1, 1]
        assert (await world.settled()).outcome is Outcome.SUCCESS
        assert world.reserved() == 0
    assert "the text of the user" not in caplog.text


async def test_a_crash_at_every_provider_is_a_500_and_strikes_nobody(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StreamSink, "opened", crash)
    async with open_world() as world:
        for name in ("a", "b"):
            world.provider(name, saying("ok"))
        for _ in range(3):
            world.ledger.records.clear()
            outcome, _ = await world.ask()
            assert isinstance(outcome, Refused)
            assert (outcome.error.status, outcome.error.error_type) == (500, "internal_error")
            record = await world.settled()
            assert (record.outcome, record.usage, record.status) == (Outcome.INTERNAL_ERROR, None, 500)
        assert strikes(world) == [None, None]
        assert world.reserved() == 0


@pytest.mark.parametrize("where", ["opened", "run"])
async def test_after_content_the_stream_ends_with_our_error(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    async def script(served: Served) -> None:
        served.say(delta("a"))
        await trio.sleep(0.1)
        if where == "opened":
            monkeypatch.setattr(StreamSink, "opened", crash)
            served.say(b'data: {"odd":true}')
        else:
            served.sink.on_run(b"x", 1, 1)

    if where == "run":
        monkeypatch.setattr(Outlet, "run", crash)
    async with open_world() as world:
        for name in ("a", "b"):
            world.provider(name, script)
        for _ in range(3):
            monkeypatch.undo()
            if where == "run":
                monkeypatch.setattr(Outlet, "run", crash)
            world.ledger.records.clear()
            _, consumer = await world.ask()
            assert consumer.text == "a"
            assert consumer.events[-1]["error"]["type"] == "internal_error"
            assert b"[DONE]" not in consumer.data
            record = await world.settled()
            assert (record.outcome, record.usage) == (Outcome.INTERNAL_ERROR, None)
        assert strikes(world) == [None, None]
        assert world.reserved() == 0
