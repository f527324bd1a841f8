"""A coordinator's life: readiness, signals, drain, and the command around it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from protocol.settings import SettingsError
from server.config import CoordinatorSettings, load_settings
from server.serve import run_coordinator, stop
from server.serve.run import reachable_url

from .conftest import OpenCoordinator, ask, get

ROOT = Path(__file__).parents[4]
COMMAND = [sys.executable, "-m", "server.cli"]


@pytest.mark.usefixtures("_restored_collector")
async def test_run_reports_urls_serves_and_ends_on_sigterm() -> None:
    ready: list[list[str]] = []
    settings = CoordinatorSettings(host="127.0.0.1", port=0, allow_memory_store=True)

    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await run_coordinator(settings, on_ready=ready.append)
            nursery.cancel_scope.cancel()

        nursery.start_soon(run)
        with trio.fail_after(10):
            while not ready:
                await trio.sleep(0.005)
            (url,) = ready[0]
            assert (await ask(int(url.rsplit(":", 1)[1]), get("/metrics")))[0] == 200
            started = trio.current_time()
            os.kill(os.getpid(), signal.SIGTERM)
            await trio.sleep_forever()
    assert trio.current_time() - started < 1.0


@pytest.mark.parametrize(
    ("url", "reachable"),
    [
        ("http://0.0.0.0:81", "http://127.0.0.1:81"),
        ("https://[::]:81", "https://[::1]:81"),
        ("http://192.0.2.1:81", "http://192.0.2.1:81"),
    ],
)
def test_wildcard_addresses_are_reported_as_loopback(url: str, reachable: str) -> None:
    assert reachable_url(url) == reachable


async def test_stop_waits_for_inference_but_not_beyond_the_grace(running: OpenCoordinator) -> None:
    async with running(drain_grace=0.2) as (coordinator, _):
        assert coordinator.drain.enter()
        started = trio.current_time()
        await stop(coordinator)
        assert trio.current_time() - started >= 0.2
        assert coordinator.drain.draining


async def test_stop_ends_when_the_last_request_left(running: OpenCoordinator) -> None:
    async with running(drain_grace=60.0) as (coordinator, port):
        assert coordinator.drain.enter()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop, coordinator)
            await trio.sleep(0.05)
            assert (await ask(port, get("/v1/chat/completions", method="POST")))[0] == 429
            coordinator.drain.leave()
        with pytest.raises(OSError, match=str(port)):
            await trio.open_tcp_stream("127.0.0.1", port)


async def test_provider_sockets_are_closed_with_service_restart(running: OpenCoordinator) -> None:
    async with running() as (coordinator, port):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(
                b"GET /ws/provider HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            data = b""
            with trio.fail_after(5):
                while b"\r\n\r\n" not in data:
                    data += await stream.receive_some(4096)
                assert data.startswith(b"HTTP/1.1 101")
                await trio.testing.wait_all_tasks_blocked(0.01)
                await stop(coordinator)
                rest = data.partition(b"\r\n\r\n")[2]
                while len(rest) < 4:
                    rest += await stream.receive_some(4096)
        assert rest[0] == 0x88
        assert int.from_bytes(rest[2:4]) == 1012


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DARKBLOOM_")}
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_config_prints_values_sources_and_hides_secrets() -> None:
    done = _run("config", "--json", DARKBLOOM_API_KEYS="sk-db-hidden", DARKBLOOM_PORT="9999")
    assert done.returncode == 0
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    by_name = {row["name"]: row for row in rows}
    assert by_name["DARKBLOOM_PORT"] == {"name": "DARKBLOOM_PORT", "value": "9999", "source": "environment"}
    assert "sk-db" not in done.stdout


def test_bad_settings_are_all_printed_and_exit_2() -> None:
    done = _run("serve", DARKBLOOM_MIN_TRUST="hardwear", DARKBLOOM_PORT="x")
    assert done.returncode == 2
    assert "DARKBLOOM_MIN_TRUST=hardwear" in done.stderr
    assert "DARKBLOOM_PORT=x" in done.stderr


def test_usage_errors_exit_64() -> None:
    assert _run("serve", "--bogus").returncode == 64


def test_a_start_imports_no_http_client() -> None:
    """It takes a tenth of the time, and is used where Privy, Stripe or a download server is set."""
    lines = "import sys, server.cli.serve, server.serve.run; print({'httpx', 'stripe', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "set()\n"


def test_unusable_files_and_addresses_are_named(tmp_path: Path) -> None:
    done = _run("serve", "--port", "0", DARKBLOOM_MODEL_CATALOG=str(tmp_path / "none.toml"))
    assert done.returncode == 2
    assert "none.toml" in done.stderr
    done = _run("serve", "--port", "0")
    assert done.returncode == 2
    assert "DARKBLOOM_DATABASE_URL" in done.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = _run("serve", "--host", "127.0.0.1", "--port", port, DARKBLOOM_ALLOW_MEMORY_STORE="true")
    assert done.returncode == 1
    assert "in use" in done.stderr


class Process:
    """A serving coordinator in a process of its own."""

    def __init__(self, ready: Path, **environment: str) -> None:
        self._ready = ready
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DARKBLOOM_")}
        arguments = ["serve", "--host", "127.0.0.1", "--port", "0", "--ready-file", str(ready)]
        self.popen = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=ROOT,
            env={**kept, "DARKBLOOM_ALLOW_MEMORY_STORE": "true", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    async def port(self) -> int:
        with trio.fail_after(30):
            while not self._ready.exists():
                await trio.sleep(0.01)
        reported = json.loads(self._ready.read_text())
        assert reported["pid"] == self.popen.pid
        return int(reported["url"].rsplit(":", 1)[1])

    async def end(self) -> tuple[int, str]:
        with trio.fail_after(30):
            out, _ = await trio.to_thread.run_sync(self.popen.communicate)
        return self.popen.returncode, out.decode()


async def test_process_reports_readiness_and_ends_in_order(tmp_path: Path) -> None:
    process = Process(tmp_path / "ready.json")
    try:
        port = await process.port()
        assert (await ask(port, get("/health")))[0] == 200
        process.popen.send_signal(signal.SIGTERM)
        code, out = await process.end()
    finally:
        process.popen.kill()
    assert code == 0
    messages = [json.loads(line)["msg"] for line in out.splitlines()]
    assert f"listening on http://127.0.0.1:{port}" in messages
    assert messages[-1] == "stopped"


async def test_second_signal_ends_the_process_at_once(tmp_path: Path) -> None:
    process = Process(tmp_path / "ready.json", DARKBLOOM_API_KEYS="sk-db-test")
    try:
        port = await process.port()
        stuck = await trio.open_tcp_stream("127.0.0.1", port)
        # The body never comes: the request stays inside and the drain waits for it.
        await stuck.send_all(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-db-test\r\n"
            b"Content-Length: 5\r\n\r\n"
        )
        await _until(port, inflight=1, draining=False)
        process.popen.send_signal(signal.SIGTERM)
        await _until(port, inflight=1, draining=True)
        process.popen.send_signal(signal.SIGINT)
        code, out = await process.end()
        await stuck.aclose()
    finally:
        process.popen.kill()
    assert code == 1
    assert "a second signal arrived" in out


async def _until(port: int, *, inflight: int, draining: bool) -> None:
    with trio.fail_after(10):
        while True:
            _, _, body = await ask(port, get("/readyz"))
            state = json.loads(body)
            if (state["inflight"], state["draining"]) == (inflight, draining):
                return


def test_overrides_win_over_the_environment() -> None:
    loaded = load_settings({"DARKBLOOM_PORT": "1"}, overrides={"DARKBLOOM_PORT": "2"})
    assert loaded.settings.port == 2
    assert loaded.sources["DARKBLOOM_PORT"] == "command line"
    with pytest.raises(SettingsError):
        load_settings({}, overrides={"DARKBLOOM_PORT": "70000"})
