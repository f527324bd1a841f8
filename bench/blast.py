"""Providers that build every frame beforehand and then send them in one of three patterns; a process of its own.

`burst`: as fast as the socket takes them, streams interleaved. `paced`: every stream gets one frame per tick, each
frame in a write of its own, spread evenly over the tick. `step`: the frames of one tick of a provider leave in one
write. It prints `built` when all requests have arrived and all frames exist, waits for a line on stdin, sends, and
prints `sent`. With `--times PATH` it writes the send time of every frame (by stream name) as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import trio

from protocol import codec
from protocol.messages.from_provider import InferenceComplete, Usage
from protocol.messages.to_provider import InferenceRequest
from protocol.sealing import open_request, seal_chunk
from tests.testbed.sim_provider import SimulatedProvider
from tests.testbed.sim_script import ChunkShape
from tests.testbed.sim_wire import SimWire, frame

TICK_SECONDS = 0.02


class Stream:
    """One request with all its frames built."""

    def __init__(self, request_id: str, name: str, frames: list[bytes], ending: list[bytes]) -> None:
        self.request_id = request_id
        self.name = name
        self.frames = frames
        self.ending = ending
        self.times: list[float] = []


class BlastProvider(SimulatedProvider):
    """A provider that collects requests and builds their answers instead of sending them."""

    pieces = 0
    text = ""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.streams: list[Stream] = []

    async def _serve(self, request: InferenceRequest, wire: SimWire, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        body, shared = open_request(request.encrypted_body, self.keys)
        parsed = json.loads(bytes(body))
        name = str(parsed["messages"][-1]["content"])
        shape = ChunkShape(request.request_id, str(parsed["model"]), 1_780_000_000)

        def sealed(plaintext: bytes) -> bytes:
            payload = {
                "type": "inference_response_chunk",
                "request_id": request.request_id,
                "encrypted_data": {
                    "ephemeral_public_key": self.keys.public_text,
                    "ciphertext": seal_chunk(plaintext, shared).decode(),
                },
            }
            return frame(json.dumps(payload, separators=(",", ":")).encode())

        head = [sealed(shape.delta({"role": "assistant", "content": ""}))]
        frames = [sealed(shape.delta({"content": f"{self.text}{index % 10}"})) for index in range(self.pieces)]
        done = InferenceComplete(
            request_id=request.request_id, usage=Usage(prompt_tokens=5, completion_tokens=self.pieces)
        )
        ending = [
            sealed(shape.delta({}, "stop")),
            sealed(shape.usage(5, self.pieces)),
            sealed(b"data: [DONE]"),
            frame(codec.encode(done)),
        ]
        await wire.send_bytes(head[0])
        self.streams.append(Stream(request.request_id, name, frames, ending))


async def _burst(provider: BlastProvider) -> None:
    assert provider.wire is not None
    rows = zip(*(stream.frames for stream in provider.streams), strict=True)
    blob = b"".join(b"".join(row) for row in rows)
    blob += b"".join(b"".join(stream.ending) for stream in provider.streams)
    await provider.wire.send_bytes(blob)


async def _paced(providers: list[BlastProvider], pieces: int, *, one_write_per_step: bool) -> None:
    start = trio.current_time() + 0.1
    flat = [(provider, stream) for provider in providers for stream in provider.streams]
    clock = time.monotonic
    warm, cool = pieces // 10, pieces - pieces // 10
    for index in range(pieces):
        if index in (warm, cool):
            print("warm" if index == warm else "cool", flush=True)
        due = start + index * TICK_SECONDS
        if one_write_per_step:
            for turn, provider in enumerate(providers):
                await trio.sleep_until(due + turn * TICK_SECONDS / len(providers))
                assert provider.wire is not None
                blob = b"".join([stream.frames[index] for stream in provider.streams])
                now = clock()
                for stream in provider.streams:
                    stream.times.append(now)
                await provider.wire.send_bytes(blob)
        else:
            for turn, (provider, stream) in enumerate(flat):
                await trio.sleep_until(due + turn * TICK_SECONDS / len(flat))
                assert provider.wire is not None
                stream.times.append(clock())
                await provider.wire.send_bytes(stream.frames[index])
    for provider, stream in flat:
        assert provider.wire is not None
        await provider.wire.send_bytes(b"".join(stream.ending))


async def run(arguments: argparse.Namespace) -> None:
    """Connect, collect, build, wait for the word, send."""
    BlastProvider.pieces = arguments.pieces
    BlastProvider.text = arguments.text
    providers = [BlastProvider(max_concurrency=24, token_budget=100_000_000) for _ in range(arguments.providers)]
    async with trio.open_nursery() as nursery:
        for provider in providers:
            await nursery.start(provider.run, arguments.url)
        Path(arguments.ready_file).write_text(json.dumps({"count": len(providers)}))
        while sum(len(provider.streams) for provider in providers) < arguments.streams:
            await trio.sleep(0.02)
        print("built", flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        if arguments.pattern == "burst":
            async with trio.open_nursery() as senders:
                for provider in providers:
                    senders.start_soon(_burst, provider)
        else:
            await _paced(providers, arguments.pieces, one_write_per_step=arguments.pattern == "step")
        if arguments.times:
            times = {stream.name: stream.times for provider in providers for stream in provider.streams}
            Path(arguments.times).write_text(json.dumps(times))
        print("sent", flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--ready-file", required=True)
    parser.add_argument("--providers", type=int, required=True)
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--pieces", type=int, required=True)
    parser.add_argument("--pattern", choices=["burst", "paced", "step"], required=True)
    parser.add_argument("--text", default=" token text ")
    parser.add_argument("--times")
    trio.run(run, parser.parse_args())
