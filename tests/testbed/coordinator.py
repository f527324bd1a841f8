"""A real coordinator process on a free loopback port."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import trio

from tests.testbed.processes import Child, child, ready

API_KEY = "sk-db-" + "7e57" * 16
ADMIN_KEY = "admin-key-" + "a" * 30
"""Only for coordinators whose settings name it."""
BASE_SETTINGS = {
    "DARKBLOOM_API_KEYS": API_KEY,
    "DARKBLOOM_MIN_TRUST": "self_signed",
    "DARKBLOOM_ALLOW_DEV_ATTESTATION": "true",
    "DARKBLOOM_MAX_SOCKETS_PER_IP": "10000",
    "DARKBLOOM_MAX_UNREGISTERED_SOCKETS": "10000",
    "DARKBLOOM_LOG_FORMAT": "json",
    "DARKBLOOM_ALLOW_MEMORY_STORE": "true",
}


def _client(base_url: str) -> httpx.AsyncClient:
    # Reading the system's certificates for each client would cost more than all requests of a test.
    return httpx.AsyncClient(base_url=base_url, trust_env=False, verify=False)


class Coordinator:
    """A running coordinator."""

    def __init__(self, process: Child, port: int) -> None:
        self.process = process
        self.port = port
        self.base_url = f"http://127.0.0.1:{port}"
        self.link_url = f"ws://127.0.0.1:{port}/ws/provider"

    async def get(self, path: str, key: str | None = API_KEY) -> httpx.Response:
        """Send one GET."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        async with _client(self.base_url) as client:
            return await client.get(path, headers=headers, timeout=10)

    async def routable(self, model: str, count: int = 1, seconds: float = 30.0) -> None:
        """Wait until `count` providers can be routed to for a model."""
        with trio.fail_after(seconds):
            async with _client(self.base_url) as client:
                while True:
                    answer = await client.get("/v1/models", headers={"authorization": f"Bearer {API_KEY}"}, timeout=10)
                    for entry in answer.json().get("data", []):
                        if entry["id"] == model and entry["metadata"]["routable_providers"] >= count:
                            return
                    await trio.sleep(0.02)

    async def metric(self, name: str, **labels: str) -> float:
        """Read one sample (sum over series whose labels contain the given ones)."""
        total = 0.0
        for line in (await self.get("/metrics", None)).text.splitlines():
            if line.startswith((name + "{", name + " ")) and all(f'{k}="{v}"' in line for k, v in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def lines(self) -> list[dict[str, Any]]:
        """Give all log lines; raises `ValueError` for output that is no log line (a traceback, a warning)."""
        return parse_log(self.process.text())

    async def until_idle(self, seconds: float = 10.0) -> None:
        """Wait until no provider is connected, nothing waits, and no inference request is inside."""
        idle = ("darkbloom_providers", "darkbloom_inflight_requests", "darkbloom_queue_depth")
        with trio.fail_after(seconds):
            while any([await self.metric(name) for name in idle]):
                await trio.sleep(0.02)


def serve_command(ready_file: Path, *, port: int = 0, module: str = "server.cli") -> list[str]:
    """Give the arguments behind `python` that start a coordinator on loopback."""
    return ["-m", module, "serve", "--host", "127.0.0.1", "--port", str(port), "--ready-file", str(ready_file)]


Launch = Callable[..., AbstractAsyncContextManager[Coordinator]]
"""Starts a coordinator of a test's own: `launch(settings, port=…, module=…)`."""


def parse_log(text: str) -> list[dict[str, Any]]:
    """Parse JSON log lines; a last line without its newline is left out."""
    found: list[dict[str, Any]] = []
    # Not splitlines: a path in a line may hold U+2028 and its like, which end no line of the log.
    for line in text.split("\n")[:-1]:
        try:
            found.append(json.loads(line))
        except ValueError:
            raise ValueError(f"This is no log line: {line!r}") from None
    return found


@asynccontextmanager
async def coordinator(
    home: Path,
    settings: Mapping[str, str] | None = None,
    *,
    port: int = 0,
    name: str = "coordinator",
    module: str = "server.cli",
) -> AsyncIterator[Coordinator]:
    """Run a coordinator for the length of the block; `module` is what `python -m` runs."""
    ready_file = home / f"{name}.ready"
    ready_file.unlink(missing_ok=True)
    command = serve_command(ready_file, port=port, module=module)
    async with child(command, home=home, settings={**BASE_SETTINGS, **(settings or {})}, name=name) as process:
        said = await ready(process, ready_file)
        yield Coordinator(process, int(said["port"]))
