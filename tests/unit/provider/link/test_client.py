"""Staying connected: losses, silence, refusals, sleep."""

from itertools import pairwise

import pytest
import trio

from protocol.messages.from_provider import Heartbeat, InferenceAccepted, Register
from protocol.messages.to_provider import InferenceRequest
from provider.link.connect import ConnectFailed, dial_tcp
from provider.link.timing import LinkTiming


async def test_delays_grow_while_sessions_die_young(open_bench, autojump_clock):
    async with open_bench(spread=lambda: 1.0) as bench:
        for number in range(1, 7):
            connection = await bench.coordinator.connection(number)
            await connection.wait(Register)
            await connection.close(1013)
        await bench.coordinator.connection(7)
        dials = bench.coordinator.dials
        assert [later - earlier for earlier, later in pairwise(dials)] == [1, 2, 4, 8, 16, 30]


async def test_a_good_session_starts_the_delays_over(open_bench, autojump_clock):
    async with open_bench(spread=lambda: 1.0) as bench:
        for number in (1, 2, 3):
            connection = await bench.coordinator.connection(number)
            await connection.wait(Register)
            await connection.reset()
        connection = await bench.coordinator.connection(4)
        await trio.sleep(31)
        lost_at = trio.current_time()
        await connection.reset()
        await bench.coordinator.connection(5)
        assert trio.current_time() - lost_at == 5


async def test_every_connection_registers_anew_and_counts_from_one(open_bench, autojump_clock):
    async with open_bench() as bench:
        first = await bench.coordinator.connection(1)
        await first.wait(Heartbeat, 3)
        await first.reset()
        second = await bench.coordinator.connection(2)
        assert (await second.wait(Heartbeat)).backend_capacity.capacity_seq == 1
        assert isinstance(second.messages[0], Register)


async def test_a_loss_cancels_the_requests_of_this_connection(open_bench, autojump_clock):
    async with open_bench() as bench:
        first = await bench.coordinator.connection(1)
        await first.send(InferenceRequest(request_id="r"))
        await first.wait(InferenceAccepted)
        lane = bench.port.requests[0][1]
        await first.reset()
        second = await bench.coordinator.connection(2)
        assert bench.port.lost == [lane.owner]
        lane.put(b"never sent")
        await second.wait(Heartbeat, 3)
        assert {type(message) for message in second.messages} == {Register, Heartbeat}


async def test_a_coordinator_that_answers_no_pings_is_left(open_bench, autojump_clock):
    async with open_bench() as bench:
        connection = await bench.coordinator.connection(1)
        await connection.wait(Register)
        connection.stream.is_deaf = True
        await bench.coordinator.connection(2)
        assert 30 <= trio.current_time() <= 41
        assert bench.link.status.last_error == "pong_timeout"


async def test_a_coordinator_that_answers_pings_is_kept(open_bench, autojump_clock):
    async with open_bench() as bench:
        await (await bench.coordinator.connection(1)).wait(Heartbeat, 60)
        assert len(bench.coordinator.dials) == 1


async def test_a_machine_that_slept_reconnects_at_once(open_bench, autojump_clock):
    offset = 0.0

    async with open_bench(wall_clock=lambda: trio.current_time() + offset) as bench:
        connection = await bench.coordinator.connection(1)
        await connection.wait(Register)
        await trio.sleep(12)
        offset = 25.0
        await bench.coordinator.connection(2)
        assert trio.current_time() == 20
        assert bench.link.status.last_error == "suspended"


async def test_a_refused_upgrade_is_retried(open_bench, autojump_clock):
    async with open_bench(refuse_with=403) as bench:
        while len(bench.coordinator.dials) < 3:
            await trio.sleep(0.1)
        assert bench.link.status.last_error == "http_403"
        assert not bench.link.status.connected
        assert bench.port.lost == []


async def test_a_coordinator_that_hangs_up_during_the_upgrade_is_retried(open_bench, autojump_clock):
    async with open_bench(run=False) as bench, trio.open_nursery() as nursery:

        async def dial(_address, _timing):
            client, server = trio.testing.memory_stream_pair()
            await server.aclose()
            return client

        bench.link._dial = dial
        nursery.start_soon(bench.link.run)
        await trio.sleep(0.2)
        assert bench.link.status.last_error == "upgrade_failed"
        nursery.cancel_scope.cancel()


async def test_a_coordinator_that_never_answers_the_upgrade_is_left(open_bench, autojump_clock):
    async with open_bench(run=False) as bench, trio.open_nursery() as nursery:

        async def dial(_address, _timing):
            client, _server = trio.testing.memory_stream_pair()
            kept.append(_server)
            return client

        kept = []
        bench.link._dial = dial
        nursery.start_soon(bench.link.run)
        await trio.sleep(29.9)
        assert bench.link.status.last_error == ""
        await trio.sleep(0.2)
        assert bench.link.status.last_error == "upgrade_failed"
        nursery.cancel_scope.cancel()


async def test_garbage_instead_of_websocket_is_an_end(open_bench, autojump_clock):
    async with open_bench() as bench:
        connection = await bench.coordinator.connection(1)
        await connection.wait(Register)
        await connection.stream.stream.send_all(b"\xff" * 64)
        await bench.coordinator.connection(2)
        assert bench.link.status.reconnects == 1


async def test_nobody_listens():
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    from provider.link import parse_address

    with pytest.raises(ConnectFailed) as failed:
        await dial_tcp(parse_address(f"ws://127.0.0.1:{port}", allow_insecure=False), LinkTiming())
    assert failed.value.reason == "connect_failed"


async def test_a_plain_peer_fails_the_tls_handshake():
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")

        async def answer_plainly(stream):
            await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        nursery.start_soon(trio.serve_listeners, answer_plainly, listeners)
        port = listeners[0].socket.getsockname()[1]
        from provider.link import parse_address

        with pytest.raises(ConnectFailed) as failed:
            await dial_tcp(parse_address(f"wss://127.0.0.1:{port}", allow_insecure=False), LinkTiming())
        assert failed.value.reason == "tls_failed"
        nursery.cancel_scope.cancel()
