"""What the coordinator adds to one request: CPU of a non-streaming request, and time to the first token.

`cpu_ms_per_request` is the coordinator's CPU over many non-streaming requests on one keep-alive connection, answered by
a provider that sends a whole short answer (five pieces) in one write: the median of several rounds, after one round
that is not counted, in which the interpreter and the caches get warm. `cpu_ms_lowest` is the lowest of them, which
other work on the machine disturbs least. `naive_cpu_ms_per_request` is the same of the naive relay, which knows no
accounts, money, routing or limits; both are asked in turns, so that a machine that slows down slows both.

Alone, every request finds the coordinator asleep, and its code and data driven out of the processor's caches by client
and provider. `loaded_cpu_ms_per_request` is the same with 16 requests under way at any time, each on a connection of
its own: what a coordinator that has something to do needs, and so what decides how many requests a core carries.

`ttft_added_p50_ms` is the client's time to the first content minus the time from the written request frame to the first
content chunk (`provider_us` of `X-Timing`), on streaming requests one after the other.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bench.launch import coordinator, naive, running, wait_for_file
from bench.process import cpu_seconds
from tests.testbed.coordinator import API_KEY
from tests.testbed.sim_provider import MODEL

SETTINGS = {"DARKBLOOM_LOG_LEVEL": "warn"}
PIECES = 5
ROUNDS = 7
AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Asked:
    """A running server, with connections to it that are one client each."""

    clients: list[httpx.Client]
    pid: int
    alone: list[float] = field(default_factory=list)
    loaded: list[float] = field(default_factory=list)

    def round(self, count: int) -> None:
        """Ask so many times one after the other, then so many times at once; notes processor seconds per request."""
        for clients, costs in ((self.clients[:1], self.alone), (self.clients, self.loaded)):
            used = cpu_seconds(self.pid)
            _ask_all(clients, count)
            costs.append((cpu_seconds(self.pid) - used) / count)


def run(*, quick: bool = False) -> dict[str, Any]:
    """Measure against one simulated provider that answers at once."""
    count, rounds = (100, 1) if quick else (300, ROUNDS)
    with tempfile.TemporaryDirectory(prefix="darkbloom-bench-") as folder, ExitStack() as stack:
        ours, theirs = (stack.enter_context(_asked(Path(folder) / name, name)) for name in ("coordinator", "naive"))
        for turn in range(1 + rounds):
            for one in (ours, theirs) if turn % 2 else (theirs, ours):
                one.round(count)
        added = [_added(ours.clients[0]) for _ in range(count)]
    return {
        **_costs("", ours.alone[1:], theirs.alone[1:]),
        **_costs("loaded_", ours.loaded[1:], theirs.loaded[1:]),
        "ttft_added_p50_ms": statistics.median(added) * 1e3,
        "ttft_added_p99_ms": sorted(added)[int(len(added) * 0.99) - 1] * 1e3,
    }


def _costs(way: str, ours: list[float], theirs: list[float]) -> dict[str, float]:
    return {
        f"{way}cpu_ms_per_request": statistics.median(ours) * 1e3,
        f"{way}cpu_ms_lowest": min(ours) * 1e3,
        f"{way}naive_cpu_ms_per_request": statistics.median(theirs) * 1e3,
        f"{way}cpu_ratio_to_naive": statistics.median(one / other for one, other in zip(ours, theirs, strict=True)),
    }


@contextmanager
def _asked(work: Path, name: str) -> Iterator[Asked]:
    """Run a server with one provider, and connect the clients."""
    work.mkdir()
    ready = work / "simulate.ready"
    server = naive(work) if name == "naive" else coordinator(work, SETTINGS)
    with ExitStack() as stack:
        process, port = stack.enter_context(server)
        command = ["-m", "tests.testbed.simulate", "--url", f"ws://127.0.0.1:{port}/ws/provider"]
        command += ["--ready-file", str(ready), "--pieces", str(PIECES), "--corked"]
        simulate = stack.enter_context(running(command, work=work, settings={}))
        wait_for_file(ready, simulate)
        clients = [
            stack.enter_context(
                httpx.Client(
                    base_url=f"http://127.0.0.1:{port}",
                    headers={"authorization": f"Bearer {API_KEY}"},
                    timeout=30,
                    trust_env=False,
                )
            )
            for _ in range(AT_ONCE)
        ]
        _wait(clients[0])
        yield Asked(clients, process.pid)


def _body(*, stream: bool) -> dict[str, Any]:
    return {"model": MODEL, "stream": stream, "messages": [{"role": "user", "content": "Hello there"}]}


def _wait(client: httpx.Client) -> None:
    for _ in range(200):
        if client.post("/v1/chat/completions", json=_body(stream=False)).status_code == 200:
            return
        time.sleep(0.05)
    raise RuntimeError("The simulated provider did not become routable within 10 s.")


def _ask(client: httpx.Client) -> None:
    client.post("/v1/chat/completions", json=_body(stream=False)).raise_for_status()


def _ask_all(clients: list[httpx.Client], count: int) -> None:
    """Ask so many times in all, each client one request after the other, all clients at once."""
    left = iter(range(count))

    def ask_while_any_is_left(client: httpx.Client) -> None:
        while next(left, None) is not None:
            _ask(client)

    with ThreadPoolExecutor(len(clients)) as threads:
        for done in [threads.submit(ask_while_any_is_left, client) for client in clients]:
            done.result()


def _added(client: httpx.Client) -> float:
    """Ask once as a stream; seconds to the first content that the provider is not answerable for."""
    started = time.perf_counter()
    with client.stream("POST", "/v1/chat/completions", json=_body(stream=True)) as answer:
        answer.raise_for_status()
        lines: Iterator[str] = answer.iter_lines()
        for line in lines:
            if line.startswith("data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
                first = time.perf_counter() - started
                break
        else:
            raise RuntimeError("The stream ended without content.")
        for _line in lines:
            pass
    provider_seconds: float = json.loads(answer.headers["x-timing"])["provider_us"] / 1e6
    return first - provider_seconds


def table(result: dict[str, Any]) -> str:
    """Render the figures with their targets."""
    return "\n".join(
        [
            "| | measured | target |",
            "|---|---|---|",
            f"| CPU per non-streaming request | {result['cpu_ms_per_request']:.2f} ms | ≤ 1.5 ms |",
            f"| the same, lowest round | {result['cpu_ms_lowest']:.2f} ms | |",
            f"| the same, naive relay | {result['naive_cpu_ms_per_request']:.2f} ms "
            f"| ours is {result['cpu_ratio_to_naive']:.2f} × of it |",
            f"| CPU per request of {AT_ONCE} at once | {result['loaded_cpu_ms_per_request']:.2f} ms | ≤ 1.5 ms |",
            f"| the same, lowest round | {result['loaded_cpu_ms_lowest']:.2f} ms | |",
            f"| the same, naive relay | {result['loaded_naive_cpu_ms_per_request']:.2f} ms "
            f"| ours is {result['loaded_cpu_ratio_to_naive']:.2f} × of it |",
            f"| added time to first token, p50 | {result['ttft_added_p50_ms']:.2f} ms | ≤ 5 ms |",
            f"| added time to first token, p99 | {result['ttft_added_p99_ms']:.2f} ms | |",
        ]
    )
