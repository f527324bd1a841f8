"""A coordinator that is told to stop: what runs is finished, what is new is refused, and it ends in time."""

from __future__ import annotations

import json
import signal

import pytest
import trio

from tests.testbed.consumer import chat, chat_body, connect, text_of
from tests.testbed.coordinator import API_KEY, Coordinator, Launch
from tests.testbed.sim_provider import MODEL, SimulatedProvider
from tests.testbed.sim_script import FaultScript, say
from tests.testbed.waiting import until

PIECES = tuple(f"{number} " for number in range(40))
HEADERS = {"authorization": f"Bearer {API_KEY}"}
STREAMS = 3


class Streaming:
    """A consumer's task: reads one stream and keeps its events."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def run(self, server: Coordinator) -> None:
        """Ask and read to the end."""
        async with connect(server.port) as consumer:
            await consumer.post("/v1/chat/completions", chat_body(MODEL), HEADERS)
            async for event in consumer.events():
                self.events.append(event)


async def until_draining(server: Coordinator) -> None:
    """Wait until the coordinator says that it is not ready."""
    with trio.fail_after(5):
        while (await server.get("/readyz")).status_code != 503:
            await trio.sleep(0.01)


@pytest.mark.twin_scenario
async def test_running_streams_finish_and_new_requests_are_refused(launch: Launch) -> None:
    provider = SimulatedProvider(answering=say(*PIECES, script=FaultScript(gap_seconds=0.04)))
    async with launch() as server, provider.session(server.link_url):
        streams = [Streaming() for _ in range(STREAMS)]
        async with trio.open_nursery() as nursery:
            for stream in streams:
                nursery.start_soon(stream.run, server)
            await until(lambda: all(len(stream.events) > 2 for stream in streams))

            server.process.signal(signal.SIGTERM)
            await until_draining(server)
            head, _text, bodies = await chat(server.port, API_KEY, MODEL)
            assert (head.status, head.headers["retry-after"]) == (429, "3")
            error = json.loads(bodies[0])["error"]
            assert (error["type"], error["reason"]) == ("rate_limit_exceeded", "draining")
            ready = (await server.get("/readyz")).json()
            assert ready == {"draining": True, "inflight": STREAMS, "ready": False}
            assert (await server.get("/health")).status_code == 200
            assert not any("[DONE]" in stream.events for stream in streams), "the drain must see running streams"
        for stream in streams:
            assert text_of(stream.events) == "".join(PIECES)
            assert stream.events[-1] == "[DONE]"
        assert await server.process.wait(5) == 0
        await until(lambda: provider.heard("closed"))
        assert provider.heard("closed") == [("closed", 1012)]
    assert server.lines()[-1]["msg"] == "stopped"


async def test_idle_coordinator_ends_within_a_second(launch: Launch) -> None:
    async with launch() as server, SimulatedProvider().session(server.link_url), connect(server.port) as idle:
        await idle.request("GET", "/health", b"", {})
        assert (await idle.head()).status == 200
        await idle.whole()
        server.process.signal(signal.SIGTERM)
        assert await server.process.wait(1) == 0


async def test_stuck_stream_is_ended_after_the_grace(launch: Launch) -> None:
    provider = SimulatedProvider(answering=say(*PIECES, script=FaultScript(stall_at=2)))
    async with launch({"DARKBLOOM_DRAIN_GRACE": "2s"}) as server, provider.session(server.link_url):
        stream = Streaming()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.run, server)
            await until(lambda: len(stream.events) > 2)
            server.process.signal(signal.SIGTERM)
            started = trio.current_time()
            assert await server.process.wait(18) == 0
            assert trio.current_time() - started >= 2
        assert text_of(stream.events[:-1]) == "".join(PIECES[:2])
        assert "error" in json.loads(stream.events[-1])


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
async def test_second_signal_ends_it_at_once(launch: Launch, second: signal.Signals) -> None:
    provider = SimulatedProvider(answering=say(*PIECES, script=FaultScript(stall_at=0)))
    async with launch() as server, provider.session(server.link_url), connect(server.port) as consumer:
        await consumer.request("POST", "/v1/chat/completions", chat_body(MODEL), HEADERS)
        await until(lambda: provider.heard("request"))
        server.process.signal(signal.SIGTERM)
        await until_draining(server)
        server.process.signal(second)
        assert await server.process.wait(1) == 1


async def test_providers_come_back_to_a_restarted_coordinator(launch: Launch) -> None:
    provider = SimulatedProvider(answering=say("hello"))
    async with trio.open_nursery() as nursery:
        async with launch() as server:
            nursery.start_soon(provider.stay, server.link_url)
            await until(lambda: provider.judged.is_set() and provider.heard("challenge"))
            assert (await chat(server.port, API_KEY, MODEL))[1] == "hello"
        async with launch(port=server.port, name="again") as server:
            await until(lambda: len(provider.heard("challenge")) == 2 and provider.judged.is_set())
            assert (await chat(server.port, API_KEY, MODEL))[1] == "hello"
            assert not provider.heard("cancel")
        nursery.cancel_scope.cancel()
    assert provider.heard("closed")[0] == ("closed", 1012)
