"""Frames of one batch leave in one write."""

import pytest
import trio
from wsproto import ConnectionType
from wsproto.connection import Connection

from provider.link.stream import FrameStream


class Recorder(trio.abc.Stream):
    def __init__(self, incoming=()):
        self.writes = []
        self.incoming = list(incoming)
        self.inside = 0

    async def send_all(self, data):
        assert not self.inside
        self.inside += 1
        await trio.lowlevel.checkpoint()
        self.inside -= 1
        self.writes.append(bytes(data))

    async def wait_send_all_might_not_block(self):
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes=None):
        await trio.lowlevel.checkpoint()
        item = self.incoming.pop(0)
        if isinstance(item, Exception):
            raise item
        return item

    async def aclose(self):
        await trio.lowlevel.checkpoint()


async def test_a_batch_is_one_write_of_separate_masked_messages():
    recorder = Recorder()
    payloads = [b'{"a":1}', b"x" * 200, b"y" * 70_000]
    await FrameStream(recorder).send_frames(payloads)
    assert len(recorder.writes) == 1
    server = Connection(ConnectionType.SERVER)
    server.receive_data(recorder.writes[0])
    assert [event.data.encode() for event in server.events()] == payloads


async def test_masks_differ():
    recorder = Recorder()
    await FrameStream(recorder).send_frames([b"same", b"same"])
    assert recorder.writes[0][:10] != recorder.writes[0][10:]


async def test_writers_take_turns():
    recorder = Recorder()
    stream = FrameStream(recorder)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(stream.send_all, b"control")
            nursery.start_soon(stream.send_frames, [b"data"])
    assert len(recorder.writes) == 10


async def test_the_end_is_seen():
    stream = FrameStream(Recorder([b"x", b""]))
    await stream.receive_some()
    assert not stream.ended.is_set()
    await stream.receive_some()
    assert stream.ended.is_set()


async def test_a_broken_stream_is_an_end():
    stream = FrameStream(Recorder([trio.BrokenResourceError()]))
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    assert stream.ended.is_set()
