"""A real coordinator process on a free loopback port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import trio

from tests.testbed.processes import Child, child, ready

API_KEY = "sk-db-" + "7e57" * 16
BASE_SETTINGS = {
    "DARKBLOOM_API_KEYS": API_KEY,
    "DARKBLOOM_MIN_TRUST": "self_signed",
    "DARKBLOOM_ALLOW_DEV_ATTESTATION": "true",
    "DARKBLOOM_MAX_SOCKETS_PER_IP": "10000",
    "DARKBLOOM_MAX_UNREGISTERED_SOCKETS": "10000",
    "DARKBLOOM_LOG_FORMAT": "json",
}


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
        async with httpx.AsyncClient(base_url=self.base_url, trust_env=False) as client:
            return await client.get(path, headers=headers, timeout=10)

    async def routable(self, model: str, count: int = 1, seconds: float = 30.0) -> None:
        """Wait until `count` providers can be routed to for a model."""
        with trio.fail_after(seconds):
            async with httpx.AsyncClient(base_url=self.base_url, trust_env=False) as client:
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


@asynccontextmanager
async def coordinator(
    home: Path, settings: Mapping[str, str] | None = None, *, port: int = 0, name: str = "coordinator"
) -> AsyncIterator[Coordinator]:
    """Run a coordinator for the length of the block."""
    ready_file = home / f"{name}.ready"
    ready_file.unlink(missing_ok=True)
    command = ["-m", "server.cli", "serve", "--host", "127.0.0.1", "--port", str(port), "--ready-file", str(ready_file)]
    async with child(command, home=home, settings={**BASE_SETTINGS, **(settings or {})}, name=name) as process:
        said = await ready(process, ready_file)
        yield Coordinator(process, int(said["port"]))
