"""The local server beside a coordinator: shared slots, shared capacity, and lives that do not end together."""

import httpx
import pytest
import trio

from protocol.messages.from_provider import Heartbeat, Register
from provider.local import LocalOptions
from tests.testbed.fake_engine import Script
from tests.testbed.sealed_asker import chat


@pytest.fixture(autouse=True)
async def _limit():
    with trio.fail_after(30):
        yield


def slow(request):
    return Script() if request.warm_up else Script(pieces=("a",) * 60, delay=0.02)


BODY = {"model": "bytes", "messages": [{"role": "user", "content": "hi"}]}


async def test_a_local_request_is_in_the_reported_load_and_outlives_the_coordinator(open_daemon):
    async with open_daemon(slow, local=LocalOptions(port=0)) as daemon:
        connection = await daemon.coordinator.connection()
        await connection.wait(Register)
        answers = []

        async def ask():
            async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
                answers.append(await client.post(f"{daemon.control.local_url}/v1/chat/completions", json=BODY))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await connection.wait(
                Heartbeat,
                where=lambda beat: beat.status == "serving" and beat.backend_capacity.slots[0].num_running == 1,
            )
            await connection.ask("r1", chat())
            await connection.wait(Heartbeat, where=lambda beat: beat.backend_capacity.slots[0].num_running == 2)
            await connection.reset()
            second = await daemon.coordinator.connection(2)
            await second.wait(Register)
        assert answers[0].json()["choices"][0]["message"]["content"] == "a" * 60
        assert daemon.control.in_flight == 0


async def test_a_busy_port_costs_the_local_server_and_nothing_else(open_daemon, caplog):
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with open_daemon(local=LocalOptions(port=port)) as daemon:
        connection = await daemon.coordinator.connection()
        await connection.ask("r1", chat())
        assert (await connection.answer("r1")).text == "Hello"
        assert daemon.control.local_url == ""
        assert "the local server is not available" in caplog.text
    await listeners[0].aclose()
