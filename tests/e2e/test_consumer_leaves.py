"""Consumers that leave: their provider hears it once and at once, its capacity is free, nothing else happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pytest
import trio

from tests.testbed.consumer import Consumer, chat, chat_body, connect
from tests.testbed.coordinator import API_KEY, Coordinator, Launch
from tests.testbed.sim_provider import MODEL, SimulatedProvider
from tests.testbed.sim_script import Answer, FaultScript, SessionScript
from tests.testbed.waiting import until

Way = Literal["half-close", "reset", "close"]
WAYS: tuple[Way, ...] = ("half-close", "reset", "close")
EVENTS = "darkbloom_link_events_total"
HEADERS = {"authorization": f"Bearer {API_KEY}"}
LATE_CHUNKS = 60


def answering(body: Mapping[str, Any]) -> tuple[Answer, FaultScript]:
    """Stream without end, stay silent, or ignore the cancel, as the prompt says; else answer at once."""
    endless = Answer(pieces=["word "] * 10_000)
    late = Answer(pieces=["word "] * LATE_CHUNKS)
    match body["messages"][-1]["content"]:
        case "stream":
            return endless, FaultScript(gap_seconds=0.01)
        case "silent":
            return endless, FaultScript(stall_at=0)
        case "deaf":
            return late, FaultScript(gap_seconds=0.01, obey_cancel=False)
        case "late":
            return late, FaultScript(first_delay_seconds=0.3, gap_seconds=0.01, preamble=False, obey_cancel=False)
        case _:
            return Answer(pieces=["here"]), FaultScript()


def single_provider() -> SimulatedProvider:
    """A provider with room for one request; only the coordinator's own reservation says that it is taken."""
    return SimulatedProvider(
        answering=answering, script=SessionScript(heartbeat_seconds=3600), max_concurrency=1, decode_tps=1000.0
    )


async def leave(consumer: Consumer, way: Way) -> None:
    """End the connection from the consumer's side."""
    if way == "half-close":
        await consumer.half_close()
    elif way == "reset":
        consumer.vanish()
    else:
        await trio.aclose_forcefully(consumer.stream)


async def ask(server: Coordinator, consumer: Consumer, prompt: str, *, stream: bool = True) -> None:
    """Send a chat request without waiting for its head."""
    await consumer.request("POST", "/v1/chat/completions", chat_body(MODEL, prompt, stream=stream), HEADERS)


@pytest.mark.twin_scenario
@pytest.mark.parametrize("way", WAYS)
async def test_leaving_mid_stream_cancels_once_and_frees_the_place(running: Coordinator, way: Way) -> None:
    provider = single_provider()
    async with provider.session(running.link_url):
        async with connect(running.port) as consumer:
            await ask(running, consumer, "stream")
            head = await consumer.head()
            for _ in range(3):
                await consumer.next_event()
            await leave(consumer, way)
            await until(lambda: provider.heard("cancel"), seconds=1)
            with trio.fail_after(1):
                assert (await chat(running.port, API_KEY, MODEL))[1] == "here"
        await provider.barrier()
    assert provider.heard("cancel") == [("cancel", head.headers["x-inference-job-id"])]
    assert len(provider.heard("request")) == 2
    assert not provider.heard("closed")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "one-piece"])
@pytest.mark.parametrize("way", WAYS)
async def test_leaving_before_content_cancels_once_and_frees_the_place(
    running: Coordinator, way: Way, stream: bool
) -> None:
    provider = single_provider()
    async with provider.session(running.link_url):
        async with connect(running.port) as consumer:
            await ask(running, consumer, "silent", stream=stream)
            await until(lambda: provider.heard("request"))
            await leave(consumer, way)
            await until(lambda: provider.heard("cancel"), seconds=1)
            with trio.fail_after(1):
                assert (await chat(running.port, API_KEY, MODEL))[1] == "here"
        await provider.barrier()
    assert [request_id for _, request_id in provider.heard("cancel")] == [provider.heard("request")[0][1]]
    assert len(provider.heard("request")) == 2


@pytest.mark.parametrize("way", WAYS)
async def test_leaving_the_queue_never_reaches_a_provider(running: Coordinator, way: Way) -> None:
    provider = single_provider()
    async with provider.session(running.link_url), connect(running.port) as first, connect(running.port) as second:
        await ask(running, first, "stream")
        await first.head()
        await ask(running, second, "here")
        await until_queued(running, 1)
        await leave(second, way)
        await until_queued(running, 0)
        await provider.barrier()
        assert len(provider.heard("request")) == 1
        assert not provider.heard("cancel")


async def until_queued(server: Coordinator, count: int) -> None:
    """Wait until so many requests wait for a provider."""
    with trio.fail_after(2):
        while await server.metric("darkbloom_queue_depth", model=MODEL) != count:
            await trio.sleep(0.01)


async def test_provider_that_ignores_the_cancel_mid_stream_is_ignored(running: Coordinator) -> None:
    provider = single_provider()
    async with provider.session(running.link_url):
        async with connect(running.port) as consumer:
            await ask(running, consumer, "deaf")
            await consumer.head()
        await until(lambda: provider.heard("cancel"), seconds=1)
        await until(lambda: list(provider.sent.values()) == [LATE_CHUNKS] and not provider.running)
        await provider.barrier()
        assert len(provider.heard("cancel")) == 1
        assert (await chat(running.port, API_KEY, MODEL))[1] == "here"
    assert not provider.heard("closed")


async def test_late_chunks_of_an_abandoned_request_get_no_second_cancel(running: Coordinator) -> None:
    strays = await running.metric(EVENTS, event="stray_chunk")
    provider = single_provider()
    async with provider.session(running.link_url):
        async with connect(running.port) as consumer:
            await ask(running, consumer, "late")
            await until(lambda: provider.heard("request"))
        await until(lambda: list(provider.sent.values()) == [LATE_CHUNKS] and not provider.running)
        await provider.barrier()
        assert len(provider.heard("cancel")) == 1
        assert await running.metric(EVENTS, event="stray_chunk") >= strays + LATE_CHUNKS
        assert (await chat(running.port, API_KEY, MODEL))[1] == "here"
    assert not provider.heard("closed")


async def test_stray_chunks_are_cancelled_again_only_after_the_interval(launch: Launch) -> None:
    async with launch({"DARKBLOOM_STRAY_CANCEL_EVERY": "300ms"}) as server:
        provider = single_provider()
        async with provider.session(server.link_url):
            async with connect(server.port) as consumer:
                await ask(server, consumer, "late")
                await until(lambda: provider.heard("request"))
            took = await until(lambda: list(provider.sent.values()) == [LATE_CHUNKS] and not provider.running)
            await provider.barrier()
            again = await server.metric(EVENTS, event="stray_cancel")
            assert 1 <= again <= took / 0.3
            assert len(provider.heard("cancel")) == 1 + again
