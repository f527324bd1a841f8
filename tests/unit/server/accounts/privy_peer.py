"""A local HTTP server that behaves like the parts of Privy that are asked."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio


class PrivyPeer:
    """`keys` are the published ones, `emails` the users' addresses (None: no such user); `down` answers 500."""

    def __init__(self) -> None:
        self.url = ""
        self.keys: list[dict[str, Any]] = []
        self.emails: dict[str, str | None] = {}
        self.codes: dict[str, str] = {}
        self.down = False
        self.body: bytes | None = None
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []

    def count(self, start: str) -> int:
        return sum(path.startswith(start) for _method, path, _headers, _body in self.requests)

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            received = b""
            while b"\r\n\r\n" not in received:
                part = await stream.receive_some()
                if not part:
                    return
                received += part
            head, _, body = received.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            while len(body) < int(headers.get("content-length", 0)):
                body += await stream.receive_some()
            method, path, _ = first.split(" ")
            self.requests.append((method, path, headers, body))
            status, answer = self.answer(path, body)
            encoded = self.body if self.body is not None else json.dumps(answer).encode()
            await stream.send_all(
                b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
                % (status, len(encoded))
                + encoded
            )

    def answer(self, path: str, body: bytes) -> tuple[int, object]:
        if self.down:
            return 500, {"error": "down"}
        if path == "/jwks":
            return 200, {"keys": self.keys}
        if path.startswith("/api/v1/users/"):
            did = path.rpartition("/")[2].replace("%3A", ":")
            if did not in self.emails:
                return 404, {"error": "no such user"}
            email = self.emails[did]
            linked = [{"type": "wallet", "address": "0x1"}]
            if email:
                linked.append({"type": "email", "address": email})
            return 200, {"id": did, "linked_accounts": linked}
        sent = json.loads(body)
        if path == "/api/v1/passwordless/init":
            self.codes[sent["email"]] = "123456"
            return 200, {"success": True}
        if path == "/api/v1/passwordless/authenticate":
            if self.codes.pop(sent["email"], None) == sent["code"]:
                return 200, {"token": "eyJ.signed.token"}
            return 400, {"error": "Invalid code"}
        return 404, {}


@asynccontextmanager
async def open_privy() -> AsyncGenerator[PrivyPeer, None]:
    peer = PrivyPeer()
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        peer.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.start_soon(trio.serve_listeners, peer.serve, [listener])
        yield peer
        nursery.cancel_scope.cancel()
