"""The naive relay that the real one is compared with: json, PyNaCl Box, quart websocket and generator.

One fixed file. It does what a straightforward implementation on the same stack does for every chunk: parse the frame,
open the box with a cached key, parse the chunk, rewrite id, model and nulls, dump it, and hand it to a generator.
Run as a process: `python -m bench.naive --port 0 --ready-file PATH`.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from nacl.public import Box, PrivateKey, PublicKey
from quart import Response, request, websocket
from quart_trio import QuartTrio

MAX_FRAME_BYTES = 10 * 1024 * 1024


class Provider:
    """One connected provider: its key and a lock around its socket."""

    def __init__(self, public_key: PublicKey) -> None:
        self.public_key = public_key
        self.outbox: trio.MemorySendChannel[str]
        self.inbox: trio.MemoryReceiveChannel[str]
        self.outbox, self.inbox = trio.open_memory_channel(1024)
        self.pending: dict[str, tuple[Box, trio.MemorySendChannel[str | None], str, str]] = {}


def rewrite(plaintext: bytes, completion_id: str, model: str) -> str:
    """Rewrite one provider chunk for the consumer, the plain way."""
    text = plaintext.decode().strip()
    payload = text.removeprefix("data: ")
    if payload == "[DONE]":
        return ""
    chunk = json.loads(payload)
    chunk["id"] = completion_id
    chunk["model"] = model
    for choice in chunk.get("choices", []):
        delta = choice.get("delta", {})
        delta.pop("role", None)
        if delta.get("content") is None:
            delta["content"] = ""
    return "data: " + json.dumps(chunk, separators=(",", ":"), ensure_ascii=False) + "\n\n"


def build_app() -> QuartTrio:
    """Build the naive coordinator."""
    app = QuartTrio("naive")
    app.config["RESPONSE_TIMEOUT"] = None
    app.config["BODY_TIMEOUT"] = None
    providers: list[Provider] = []
    turn = iter(range(1 << 62))

    @app.websocket("/ws/provider")
    async def provider_socket() -> None:
        first: dict[str, Any] = json.loads(await websocket.receive())
        provider = Provider(PublicKey(base64.b64decode(first["public_key"])))
        providers.append(provider)

        async def send_all() -> None:
            async for frame in provider.inbox:
                await websocket.send(frame)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_all)
            while True:
                frame = json.loads(await websocket.receive())
                pending = provider.pending.get(frame.get("request_id", ""))
                if pending is None:
                    continue
                box, channel, completion_id, model = pending
                if frame["type"] == "inference_response_chunk":
                    sealed = base64.b64decode(frame["encrypted_data"]["ciphertext"])
                    ready = rewrite(box.decrypt(sealed), completion_id, model)
                    if ready:
                        await channel.send(ready)
                elif frame["type"] in ("inference_complete", "inference_error"):
                    await channel.send(None)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "providers": len(providers)}

    @app.post("/v1/chat/completions")
    async def chat() -> Response:
        body = await request.get_json()
        provider = providers[next(turn) % len(providers)]
        session = PrivateKey.generate()
        box = Box(session, provider.public_key)
        request_id = str(uuid.uuid4())
        send, receive = trio.open_memory_channel[str | None](math.inf)
        provider.pending[request_id] = (box, send, f"chatcmpl-{request_id}", body["model"])
        sealed = {
            "ephemeral_public_key": base64.b64encode(bytes(session.public_key)).decode(),
            "ciphertext": base64.b64encode(bytes(box.encrypt(json.dumps(body).encode()))).decode(),
        }
        await provider.outbox.send(
            json.dumps({"type": "inference_request", "request_id": request_id, "encrypted_body": sealed})
        )

        async def stream() -> AsyncIterator[bytes]:
            async for ready in receive:
                if ready is None:
                    break
                yield ready.encode()
            provider.pending.pop(request_id, None)
            yield b"data: [DONE]\n\n"

        return Response(stream(), content_type="text/event-stream")

    return app


async def _main(port: int, ready_file: str) -> None:
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.websocket_max_message_size = MAX_FRAME_BYTES
    config.backlog = 1024
    async with trio.open_nursery() as nursery:
        binds = await nursery.start(serve, build_app(), config)
        actual = binds[0].rsplit(":", 1)[1]
        Path(ready_file).write_text(json.dumps({"port": int(actual), "at": time.time()}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ready-file", required=True)
    arguments = parser.parse_args()
    trio.run(_main, arguments.port, arguments.ready_file)
