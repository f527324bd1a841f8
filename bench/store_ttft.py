"""What money adds to the time to the first token: a covered key against a paying one, in an idle coordinator.

The same small request goes out on two kept connections in turn, once with a key that the platform covers (no hold) and
once with one whose account pays. Each figure is the difference of the two medians; single times vary more than that.
The simulated provider answers at once, so the times are the coordinator's own. On SQLite a hold waits for one fsync of
the disk, which `fsync_ms` of the store's benchmark gives. PostgreSQL is a throw-away server with fsync off.
"""

from __future__ import annotations

import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from bench.launch import coordinator, running, wait_for_file
from tests.testbed.consumer import chat_body
from tests.testbed.coordinator import API_KEY
from tests.testbed.money_bank import Bank, own_server, postgres_bank, sqlite_bank
from tests.testbed.money_people import DOLLAR
from tests.testbed.postgres_server import NoServer
from tests.testbed.sim_provider import MODEL

WARM_UP = 20
SETTINGS = {
    "DARKBLOOM_LOG_LEVEL": "warn",
    "DARKBLOOM_RATE_LIMIT_RPS": "0",
    "DARKBLOOM_RATE_LIMIT_ITPM": "0",
    "DARKBLOOM_RATE_LIMIT_OTPM": "0",
}
_CONTENT = b'"content":"lorem'
_END = b"data: [DONE]\n\n"
_LAST_CHUNK = b"0\r\n\r\n"


def run(*, quick: bool = False) -> dict[str, float | None]:
    """Measure both engines; PostgreSQL is left out (None) where no server can be had. Milliseconds."""
    rounds = 30 if quick else 400
    result: dict[str, float | None] = {}
    with tempfile.TemporaryDirectory(prefix="darkbloom-bench-") as folder:
        work = Path(folder)
        result |= _added("sqlite", sqlite_bank(work), work, rounds)
    try:
        server = own_server()
    except NoServer:
        return result | {"added_ttft_ms_postgres": None, "covered_ttft_ms_postgres": None}
    try:
        with tempfile.TemporaryDirectory(prefix="darkbloom-bench-") as folder:
            result |= _added("postgres", postgres_bank(server), Path(folder), rounds)
    finally:
        server.stop(keep=False)
    return result


def _added(name: str, bank: Bank, work: Path, rounds: int) -> dict[str, float]:
    paying = trio.run(_paying_key, bank)
    with coordinator(work, SETTINGS | bank.settings) as (_, port), _provider(work, port):
        _until_served(port)
        covered_ms, paying_ms = _interleaved(port, (API_KEY, paying), rounds)
    return {f"added_ttft_ms_{name}": paying_ms - covered_ms, f"covered_ttft_ms_{name}": covered_ms}


async def _paying_key(bank: Bank) -> str:
    await bank.migrate()
    async with bank.people() as people:
        return (await people.join("bench", credit=1000 * DOLLAR)).key


@contextmanager
def _provider(work: Path, port: int) -> Iterator[None]:
    ready = work / "provider.ready"
    command = ["-m", "tests.testbed.simulate", "--url", f"ws://127.0.0.1:{port}/ws/provider"]
    command += ["--ready-file", str(ready), "--pieces", "1"]
    with running(command, work=work, settings={}) as process:
        wait_for_file(ready, process)
        yield


def _until_served(port: int) -> None:
    """Wait until the provider's challenge is judged and it is given requests."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with _Connection(port, API_KEY) as connection:
            if connection.answered():
                return
        time.sleep(0.05)
    raise RuntimeError("The provider of the benchmark was given no request within 30 s.")


def _interleaved(port: int, keys: tuple[str, str], rounds: int) -> tuple[float, float]:
    """Give the median time to the first token with each key, in milliseconds."""
    with _Connection(port, keys[0]) as first, _Connection(port, keys[1]) as second:
        times: tuple[list[float], list[float]] = ([], [])
        for number in range(WARM_UP + rounds):
            for connection, kept in zip((first, second), times, strict=True):
                taken = connection.first_token_seconds()
                if number >= WARM_UP:
                    kept.append(taken * 1000)
    return statistics.median(times[0]), statistics.median(times[1])


class _Connection:
    """A kept connection that asks with one key."""

    def __init__(self, port: int, key: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = chat_body(MODEL, "Hello", max_tokens=16)
        self._request = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def answered(self) -> bool:
        """Ask once; False for anything but a stream."""
        self._socket.sendall(self._request)
        return self._socket.recv(1 << 16).startswith(b"HTTP/1.1 200")

    def first_token_seconds(self) -> float:
        """Ask, read the whole answer, and give the time until its first token; raises RuntimeError for an error."""
        data, first = b"", 0.0
        started = time.perf_counter()
        self._socket.sendall(self._request)
        while not (_END in data and data.endswith(_LAST_CHUNK)):
            piece = self._socket.recv(1 << 16)
            data += piece
            if not first and _CONTENT in data:
                first = time.perf_counter()
            if not piece or not data.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"The coordinator answered {data[:200]!r}.")
        return first - started
