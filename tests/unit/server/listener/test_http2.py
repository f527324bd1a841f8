"""HTTP/2 over real loopback connections: idleness, stalled readers, large and broken answers, refused uploads."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from .conftest import BOTH, LIMITS, OpenDoor


async def test_idle_http2_connection_is_closed_after_its_last_answer(open_door: OpenDoor) -> None:
    from .h2_client import H2Client

    async with open_door(tls=True, limits=replace(LIMITS, idle_seconds=0.3)) as door:
        client = await H2Client.open(door)
        assert await client.get("/hello") == (200, b"hello")
        await client.read_until_closed(seconds=2.0)


@pytest.mark.parametrize("stall", ["window", "socket"])
async def test_stalled_http2_reader_is_aborted(open_door: OpenDoor, stall: str) -> None:
    from .h2_client import H2Client

    limits = replace(LIMITS, write_deadline_seconds=0.3)
    async with open_door(tls=True, limits=limits, write_deadline_seconds=0.3) as door:
        client = await H2Client.open(door, window=65_535 if stall == "window" else 2**30)
        await client.request("/flood")
        with trio.fail_after(5):
            await door.seen.cancelled.wait()
        if stall == "window":  # the stream alone was reset; the connection still serves
            assert await client.read_until_reset() == "stream"
            assert await client.get("/hello") == (200, b"hello")
        else:
            assert await client.read_until_reset() == "connection"


async def test_stalled_http2_reader_of_an_ordinary_answer_is_aborted(open_door: OpenDoor) -> None:
    from .h2_client import H2Client

    async with open_door(tls=True, limits=replace(LIMITS, write_deadline_seconds=0.3)) as door:
        client = await H2Client.open(door, window=65_535)
        await client.request("/large")
        assert await client.read_until_reset() == "stream"
        assert await client.get("/hello") == (200, b"hello")


async def test_http2_answer_larger_than_every_buffer_arrives_whole(open_door: OpenDoor) -> None:
    from .h2_client import H2Client

    async with open_door(tls=True) as door:
        client = await H2Client.open(door, window=2**24)
        assert await client.get("/large") == (200, b"y" * 1_000_000)


async def test_broken_http2_answer_resets_its_stream_alone(open_door: OpenDoor) -> None:
    from .h2_client import H2Client

    async with open_door(tls=True) as door:
        client = await H2Client.open(door)
        await client.request("/abort")
        assert await client.read_until_reset() == "stream"
        assert await client.get("/hello") == (200, b"hello")


@BOTH
async def test_http2_serves_plain_and_streamed_answers_at_once(open_door: OpenDoor, tls: bool) -> None:
    from .h2_client import H2Client

    async with open_door(tls=tls) as door:
        client = await H2Client.open(door)
        slow = await client.request("/stream/20")
        assert await client.get("/hello") == (200, b"hello")
        status, body = await client.read_answer(slow)
        assert status == 200
        assert body.count(b"data: ") == 20


async def test_http2_path_that_is_none_is_not_found(open_door: OpenDoor) -> None:
    from .h2_client import H2Client

    async with open_door(tls=True) as door:
        client = await H2Client.open(door)
        assert (await client.get("http://[::1"))[0] == 404
        assert await client.get("/hello") == (200, b"hello")


async def test_http2_late_body_of_a_refused_upload_spares_the_connection(open_door: OpenDoor) -> None:
    from .h2_client import H2Client

    async with open_door(tls=True) as door:
        client = await H2Client.open(door)
        stream_id = await client.request("/refuse", method="POST", body=b"x" * 1000, end=False)
        assert (await client.read_answer(stream_id))[0] == 413
        await client.send_body(stream_id, b"y" * 1000)
        assert await client.get("/hello") == (200, b"hello")
