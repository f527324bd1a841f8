"""The documented samples for nginx and Caddy, run as they stand before a real coordinator.

Only what a sample cannot know is put in: ports, and plain HTTP in place of the public certificate.
"""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from tests.testbed.coordinator import API_KEY, Coordinator, Launch
from tests.testbed.needs import absent
from tests.testbed.processes import ROOT
from tests.testbed.sim_provider import MODEL, SimulatedProvider
from tests.testbed.sim_script import Answer, FaultScript
from tests.testbed.waiting import until

SAMPLES = ROOT / "docs" / "how-to" / "put-a-proxy-in-front.md"
# The proxy's own address is trusted, and another one of this machine plays the client.
TRUSTED = {"DARKBLOOM_TRUSTED_PROXIES": "127.0.0.1/32"}
CLIENT_ADDRESS, CLIENT_NETWORK = "127.9.8.7", "127.9.8.0/24"
# Proxies that send an upgrade on a connection which they kept; others may open a new one for it.
REUSES = frozenset({"nginx"})
PIECES, GAP_SECONDS = 8, 0.15

if sys.platform != "linux":
    pytest.skip(
        "Clients with an address of their own need Linux, where all of 127.0.0.0/8 is this machine.",
        allow_module_level=True,
    )


def sample(language: str) -> str:
    """Give the fenced block of the page that begins with this language."""
    found = re.search(rf"^```{language}\n(.*?)^```$", SAMPLES.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None, f"{SAMPLES.name} has no sample of {language}"
    return found[1]


def replaced(text: str, old: str, new: str) -> str:
    """Put `new` where the sample says `old`, which it must say."""
    assert old in text, f"the sample does not say {old!r} any more"
    return text.replace(old, new)


def nginx_command(work: Path, listen: int, upstream: int) -> list[str]:
    """Write nginx's configuration; gives its command line."""
    text = replaced(sample("nginx"), "listen 443 ssl;", f"listen 127.0.0.1:{listen};")
    text = replaced(text, "127.0.0.1:8080", f"127.0.0.1:{upstream}")
    folders = "".join(
        f"{kind}_temp_path {work}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    frame = f"daemon off;\nmaster_process off;\npid {work}/nginx.pid;\nerror_log stderr;\nevents {{}}\n"
    path = work / "nginx.conf"
    path.write_text(f"{frame}http {{\naccess_log off;\n{folders}{text}}}\n")
    return ["nginx", "-p", str(work), "-c", str(path), "-e", "stderr"]


def caddy_command(work: Path, listen: int, upstream: int) -> list[str]:
    """Write Caddy's configuration; gives its command line."""
    text = replaced(sample("caddyfile"), "coordinator.example {", f"http://127.0.0.1:{listen} {{\n    bind 127.0.0.1")
    text = replaced(text, "127.0.0.1:8080", f"127.0.0.1:{upstream}")
    path = work / "Caddyfile"
    path.write_text("{\n    admin off\n    auto_https off\n}\n" + text)
    return ["caddy", "run", "--config", str(path), "--adapter", "caddyfile"]


COMMANDS = {"nginx": nginx_command, "caddy": caddy_command}


@pytest.fixture(params=sorted(COMMANDS))
def proxy_name(request: pytest.FixtureRequest) -> str:
    """The name of a proxy that is installed."""
    name: str = request.param
    if shutil.which(name) is None:
        absent(f"{name} is needed for this test; install the package {name}.")
    return name


@asynccontextmanager
async def proxy(name: str, work: Path, server: Coordinator) -> AsyncIterator[int]:
    """Run a proxy before the coordinator; gives its port once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    work.mkdir()
    home = {"HOME": str(work), "XDG_DATA_HOME": str(work), "XDG_CONFIG_HOME": str(work)}
    log = work / "log"
    with log.open("wb") as output:
        program, *arguments = COMMANDS[name](work, port, server.port)
        process = subprocess.Popen(
            [shutil.which(program) or program, *arguments], env=home, stdout=output, stderr=output
        )
    try:
        with trio.fail_after(20):
            while not await answers(port):
                assert process.poll() is None, f"{name} ended: {log.read_text()[-2000:]}"
                await trio.sleep(0.05)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def answers(port: int) -> bool:
    """Whether something serves on a port."""
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(f"http://127.0.0.1:{port}/health")).status_code == 200
    except httpx.TransportError:
        return False


def client_of(port: int) -> httpx.AsyncClient:
    """A client with an address of its own, behind the proxy."""
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}",
        headers={"authorization": f"Bearer {API_KEY}"},
        transport=httpx.AsyncHTTPTransport(local_address=CLIENT_ADDRESS),
        timeout=20,
    )


def upstream_ports(server: Coordinator) -> set[int]:
    """The local ports of all established connections to the coordinator."""
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state = line.split()[:4]
        if state == "01" and int(remote.partition(":")[2], 16) == server.port:
            found.add(int(local.partition(":")[2], 16))
    return found


async def test_stream_passes_piece_by_piece(launch: Launch, tmp_path: Path, proxy_name: str) -> None:
    script = FaultScript(gap_seconds=GAP_SECONDS)
    provider = SimulatedProvider(answering=lambda _: (Answer(pieces=[f"piece {n} " for n in range(PIECES)]), script))
    async with (
        launch(TRUSTED) as server,
        provider.session(server.link_url),
        proxy(proxy_name, tmp_path / "proxy", server) as port,
        client_of(port) as client,
    ):
        body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        moments: list[float] = []
        async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            assert answer.status_code == 200
            lines = [line async for line in timed(answer, moments)]
        assert lines[-1] == "data: [DONE]"
        assert len(moments) == PIECES
        assert moments[-1] - moments[0] > (PIECES - 1) * GAP_SECONDS / 2


async def timed(answer: httpx.Response, moments: list[float]) -> AsyncIterator[str]:
    """Give the lines of a stream that are not empty, and note when each piece arrived."""
    async for line in answer.aiter_lines():
        if "piece " in line:
            moments.append(trio.current_time())
        if line:
            yield line


async def test_client_address_is_believed_from_the_proxy_alone(launch: Launch, tmp_path: Path, proxy_name: str) -> None:
    async with launch(TRUSTED) as server, proxy(proxy_name, tmp_path / "proxy", server) as port:
        async with client_of(port) as client:
            forged = {"x-forwarded-for": "198.51.100.1", "x-request-id": "through-the-proxy"}
            assert (await client.get("/v1/models", headers=forged)).status_code == 200
        async with client_of(server.port) as client:
            forged = {"x-forwarded-for": "198.51.100.1", "x-request-id": "past-the-proxy"}
            assert (await client.get("/v1/models", headers=forged)).status_code == 200

        def remotes() -> dict[str, str]:
            lines = [line for line in server.lines() if line["logger"] == "access"]
            return {line["request_id"]: line["remote"] for line in lines if "-the-proxy" in line["request_id"]}

        await until(lambda: len(remotes()) == 2)
        assert remotes() == {"through-the-proxy": CLIENT_NETWORK, "past-the-proxy": CLIENT_NETWORK}


async def test_provider_is_upgraded_on_a_connection_that_served_requests(
    launch: Launch, tmp_path: Path, proxy_name: str
) -> None:
    async with (
        launch(TRUSTED) as server,
        proxy(proxy_name, tmp_path / "proxy", server) as port,
        client_of(port) as client,
    ):
        for _ in range(3):
            assert (await client.get("/v1/models")).status_code == 200
        kept = upstream_ports(server)
        assert kept
        async with SimulatedProvider().session(f"ws://127.0.0.1:{port}/ws/provider") as provider:
            if proxy_name in REUSES:
                assert upstream_ports(server) <= kept
            body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
            answer = await client.post("/v1/chat/completions", json=body)
            assert answer.json()["choices"][0]["message"]["content"] == "Hello, world"
            assert len(provider.heard("request")) == 1
