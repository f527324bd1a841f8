"""Connections that break the rules of the provider link."""

from __future__ import annotations

import pytest
import trio

from protocol import codec
from tests.testbed.consumer import chat
from tests.testbed.coordinator import API_KEY, Coordinator, Launch
from tests.testbed.sim_provider import MODEL, SimulatedProvider
from tests.testbed.sim_script import SessionScript, say
from tests.testbed.sim_wire import Closed, SimWire
from tests.testbed.waiting import until

LIMIT_BYTES = 10 * 1024 * 1024


def padded_heartbeat(provider: SimulatedProvider, size: int) -> bytes:
    """Give a valid heartbeat of exactly `size` bytes."""
    bare = codec.encode(provider.heartbeat_message())
    padding = size - len(bare) - len(b',"padding":""')
    return bare[:-1] + b',"padding":"' + b"x" * padding + b'"}'


@pytest.mark.twin_scenario
async def test_message_at_the_limit_is_taken_and_one_byte_more_closes_1009(running: Coordinator) -> None:
    provider, other = SimulatedProvider(), SimulatedProvider()
    async with other.session(running.link_url), provider.session(running.link_url):
        assert provider.wire is not None
        await provider.wire.send_text(padded_heartbeat(provider, LIMIT_BYTES))
        with trio.fail_after(10):
            await provider.barrier()
        await provider.wire.send_text(padded_heartbeat(provider, LIMIT_BYTES + 1))
        await until(lambda: provider.heard("closed"))
        assert provider.heard("closed") == [("closed", 1009)]
        head, _text, _events = await chat(running.port, API_KEY, MODEL)
        assert head.status == 200


async def test_silent_connection_is_closed_1008(launch: Launch) -> None:
    async with launch({"DARKBLOOM_WS_REGISTER_TIMEOUT": "1s"}) as server:
        wire = await SimWire.connect(server.link_url)
        with trio.fail_after(5), pytest.raises(Closed) as closed:
            await wire.receive()
        assert closed.value.code == 1008
        await trio.aclose_forcefully(wire.stream)


async def test_same_device_supersedes_after_its_challenge(running: Coordinator) -> None:
    old = SimulatedProvider(answering=say("old"))
    async with old.session(running.link_url):
        new = SimulatedProvider(answering=say("new"), signer=old.signer)
        async with new.session(running.link_url):
            await until(lambda: old.heard("closed"))
            assert old.heard("closed") == [("closed", 1000)]
            assert (await chat(running.port, API_KEY, MODEL))[1] == "new"


async def test_replayed_blob_disturbs_nobody(running: Coordinator) -> None:
    real = SimulatedProvider(answering=say("real"))
    async with real.session(running.link_url):
        thief = SimulatedProvider(
            answering=say("thief"), script=SessionScript(reuse_blob=True, challenge="wrong_signature")
        )
        thief._blob = real._blob
        thief.keys = real.keys
        async with thief.session(running.link_url):
            await until(lambda: thief.heard("challenge"))
            with trio.fail_after(10):
                await thief.judged.wait()
                await real.barrier()
            assert not real.heard("closed")
            for _ in range(3):
                assert (await chat(running.port, API_KEY, MODEL))[1] == "real"


@pytest.mark.parametrize("challenge", ["ignore", "wrong_signature"])
async def test_unanswered_challenge_keeps_a_provider_unroutable(running: Coordinator, challenge: str) -> None:
    script = SessionScript(challenge=challenge)  # type: ignore[arg-type]
    provider = SimulatedProvider(script=script)
    async with provider.session(running.link_url):
        await until(lambda: provider.heard("challenge"))
        if challenge != "ignore":
            with trio.fail_after(10):
                await provider.judged.wait()
        head, _text, _events = await chat(running.port, API_KEY, MODEL)
        assert head.status == 429
        assert int(head.headers["retry-after"]) >= 2
        assert not provider.heard("request")


async def test_stuck_provider_socket_is_aborted_and_its_requests_fail_over(launch: Launch) -> None:
    settings = {"DARKBLOOM_WRITER_MIN": "1s", "DARKBLOOM_WRITER_MAX": "1s", "DARKBLOOM_FIRST_CONTENT_BASE": "30s"}
    async with launch(settings) as server:
        stuck = SimulatedProvider(decode_tps=400.0, script=SessionScript(stop_reading_after_register=True))
        good = SimulatedProvider(answering=say("good"), decode_tps=1.0)
        async with stuck.session(server.link_url), good.session(server.link_url):
            big = "x" * 8_000_000
            with trio.fail_after(40):
                head, text, _events = await chat(server.port, API_KEY, MODEL, big)
            assert head.status == 200
            assert text == "good"
            assert await server.metric("darkbloom_link_events_total", event="write_deadline_abort") == 1
            assert await server.metric("darkbloom_providers") == 1
