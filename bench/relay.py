"""Coordinator CPU per relayed chunk, from socket to socket, sealed and rewritten, against a floor and the naive relay.

*Burst*: 4 provider sockets × 16 streams as fast as the sockets take them. *Paced*: 100 streams × 50 tokens/s on 7
provider sockets, (a) one frame per write, (b) one write per decode step. The floor is bare epoll in Python, one recv
and one send per frame, with the same pattern. Latency is from the provider's write to the consumer's read, load
generator included.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.floor_load import floor_cpu_us
from bench.launch import coordinator, naive, running, wait_for_file
from bench.process import cpu_seconds
from tests.testbed.coordinator import API_KEY
from tests.testbed.sim_provider import MODEL

FRAME_BYTES = 548
SETTINGS = {"DARKBLOOM_FIRST_CONTENT_BASE": "2m", "DARKBLOOM_LOG_LEVEL": "warn"}


def _percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[max(0, -(-int(len(ordered) * share * 1000) // 1000) - 1)] if ordered else float("nan")


@dataclass(frozen=True, slots=True)
class Shape:
    """How many sockets, streams and chunks per stream one run has."""

    providers: int
    streams: int
    pieces: int


def relay(
    work: Path,
    server: AbstractContextManager[tuple[subprocess.Popen[str], int]],
    *,
    pattern: str,
    shape: Shape,
    times: bool = False,
    dialect: str = "chat",
) -> dict[str, Any]:
    """Run one pattern through one server; give CPU per chunk and, with `times`, latencies in seconds."""
    providers, streams, pieces = shape.providers, shape.streams, shape.pieces
    with server as (process, port):
        ready = work / "blast.ready"
        ready.unlink(missing_ok=True)
        sent, arrived = work / "sent.json", work / "arrived.json"
        load = ["-m", "bench.blast", "--url", f"ws://127.0.0.1:{port}/ws/provider", "--ready-file", str(ready)]
        load += [
            "--providers",
            str(providers),
            "--streams",
            str(streams),
            "--pieces",
            str(pieces),
            "--pattern",
            pattern,
        ]
        ask = ["-m", "bench.consumers", "--port", str(port), "--key", API_KEY, "--model", MODEL]
        ask += ["--streams", str(streams), "--dialect", dialect]
        if times:
            load += ["--times", str(sent)]
            ask += ["--times", str(arrived)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with running(load, work=work, settings={}, **pipes) as blast:
            wait_for_file(ready, blast)
            _wait_routable(port, providers)
            with running(ask, work=work, settings={}, stdout=subprocess.PIPE) as consumers:
                assert blast.stdin is not None
                assert blast.stdout is not None
                assert consumers.stdout is not None
                _expect(blast.stdout.readline(), "built", work)
                before = cpu_seconds(process.pid)
                blast.stdin.write("go\n")
                blast.stdin.flush()
                steady = pattern != "burst"
                if steady:
                    # The heads and ends of the streams are not part of the steady state that is measured.
                    _expect(blast.stdout.readline(), "warm", work)
                    before = cpu_seconds(process.pid)
                    _expect(blast.stdout.readline(), "cool", work)
                    used = cpu_seconds(process.pid) - before
                outcome: dict[str, Any] = json.loads(consumers.stdout.read() or "{}")
                if not steady:
                    used = cpu_seconds(process.pid) - before
                _expect(blast.stdout.readline(), "sent", work)
                outcome["step_p999_ms"] = _longest_step_ms(port)
            blast.stdin.write("end\n")
            blast.stdin.flush()
    wanted = streams * pieces
    if outcome.get("events") != wanted or outcome.get("done") != streams:
        chunks, ends = outcome.get("events"), outcome.get("done")
        raise RuntimeError(f"{pattern}: {chunks} of {wanted} chunks and {ends} of {streams} ends arrived.")
    measured = streams * (pieces - 2 * (pieces // 10)) if steady else wanted
    outcome["cpu_us_per_chunk"] = used / measured * 1e6
    if times:
        outcome["latencies"] = _latencies(json.loads(sent.read_text()), json.loads(arrived.read_text()))
    return outcome


def _expect(line: str, word: str, work: Path) -> None:
    if line.strip() != word:
        raise RuntimeError(f"The load process said {line!r} instead of {word!r}; see {work}.")


def _wait_routable(port: int, count: int) -> None:
    import time

    import httpx

    deadline = time.monotonic() + 30
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        while time.monotonic() < deadline:
            if client.get("/health").json().get("providers", 0) >= count:
                models = client.get("/v1/models", headers={"authorization": f"Bearer {API_KEY}"})
                entries = models.json().get("data", []) if models.status_code == 200 else None
                if entries is None or any(entry["metadata"]["routable_providers"] >= count for entry in entries):
                    return
            time.sleep(0.05)
    raise RuntimeError(f"Fewer than {count} providers became routable within 30 s.")


def _latencies(sent: dict[str, list[float]], arrived: dict[str, list[float]]) -> list[float]:
    """Pair the n-th arrival of a stream with its n-th sending; the first 10 % are warm-up."""
    pairs = []
    for name, times in sent.items():
        skip = len(times) // 10
        pairs += [there - here for here, there in zip(times[skip:], arrived[name][skip:], strict=True)]
    return pairs


def run(*, quick: bool = False) -> dict[str, Any]:
    """Run all patterns; CPU in microseconds per chunk, latency and steps in milliseconds."""
    burst_pieces, ticks = (300, 50) if quick else (3000, 300)
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="darkbloom-bench-") as folder:
        work = Path(folder)

        def ours(pattern: str, shape: Shape, *, times: bool = False) -> dict[str, Any]:
            return relay(work, coordinator(work, SETTINGS), pattern=pattern, shape=shape, times=times)

        def floor(*, one_write_per_step: bool) -> float:
            return floor_cpu_us(
                work,
                inputs=7,
                streams=100,
                ticks=ticks,
                tick_seconds=0.02,
                frame_bytes=FRAME_BYTES,
                one_write_per_step=one_write_per_step,
            )

        bursts = [ours("burst", Shape(4, 64, burst_pieces)) for _ in range(1 if quick else 3)]
        result["burst_cpu_us_per_chunk"] = statistics.median(one["cpu_us_per_chunk"] for one in bursts)
        if not quick:
            for shape in (Shape(4, 4, 3000), Shape(1, 16, 3000), Shape(7, 100, 1500)):
                name = f"burst_cpu_us_per_chunk_{shape.streams}_streams_on_{shape.providers}"
                result[name] = ours("burst", shape)["cpu_us_per_chunk"]
        paced = Shape(7, 100, ticks)
        result["floor_a_cpu_us"] = floor(one_write_per_step=False)
        single = ours("paced", paced, times=True)
        result["floor_b_cpu_us"] = floor(one_write_per_step=True)
        result["paced_a_cpu_us_per_chunk"] = single["cpu_us_per_chunk"]
        result["added_latency_p50_ms"] = _percentile(single["latencies"], 0.50) * 1e3
        result["added_latency_p99_ms"] = _percentile(single["latencies"], 0.99) * 1e3
        result["paced_b_cpu_us_per_chunk"] = ours("step", paced)["cpu_us_per_chunk"]
        profiled = coordinator(work, {**SETTINGS, "DARKBLOOM_STEP_PROFILE": "true"})
        result["longest_step_p999_ms"] = relay(work, profiled, pattern="step", shape=paced)["step_p999_ms"]
        small = Shape(4, 64, burst_pieces // 10)
        result["naive_burst_cpu_us_per_chunk"] = relay(work, naive(work), pattern="burst", shape=small)[
            "cpu_us_per_chunk"
        ]
        slow = Shape(7, 100, max(25, ticks // 5))
        result["naive_paced_cpu_us_per_chunk"] = relay(work, naive(work), pattern="paced", shape=slow)[
            "cpu_us_per_chunk"
        ]
    return result


def _longest_step_ms(port: int) -> float:
    """Read the p99.9 of the coordinator's task steps from its metrics; nan when it does not measure them."""
    import httpx

    answer = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
    for line in answer.text.splitlines():
        if line.startswith("darkbloom_task_step_p999_seconds "):
            return float(line.rsplit(" ", 1)[1]) * 1e3
    return float("nan")


def table(result: dict[str, Any]) -> str:
    """Render the figures with their ratios and targets."""
    a = result["paced_a_cpu_us_per_chunk"] / result["floor_a_cpu_us"]
    b = result["paced_b_cpu_us_per_chunk"] / result["floor_b_cpu_us"]
    rows = [
        ("burst", result["burst_cpu_us_per_chunk"], "≤ 5 µs"),
        ("paced (a)", result["paced_a_cpu_us_per_chunk"], f"{a:.2f} × floor (≤ 1.6)"),
        ("floor (a)", result["floor_a_cpu_us"], ""),
        ("paced (b)", result["paced_b_cpu_us_per_chunk"], f"{b:.2f} × floor (≤ 2)"),
        ("floor (b)", result["floor_b_cpu_us"], ""),
        (
            "naive, burst",
            result["naive_burst_cpu_us_per_chunk"],
            f"{result['naive_burst_cpu_us_per_chunk'] / result['burst_cpu_us_per_chunk']:.1f} × ours (≥ 10)",
        ),
        (
            "naive, paced",
            result["naive_paced_cpu_us_per_chunk"],
            f"{result['naive_paced_cpu_us_per_chunk'] / result['paced_a_cpu_us_per_chunk']:.1f} × ours (≥ 3)",
        ),
    ]
    rows += [(key, value, "") for key, value in result.items() if "_streams_on_" in key]
    lines = ["| | CPU µs per chunk | |", "|---|---|---|"]
    lines += [f"| {name} | {value:.2f} | {note} |" for name, value, note in rows]
    lines += ["", f"Latency p50 {result['added_latency_p50_ms']:.2f} ms, p99 {result['added_latency_p99_ms']:.2f} ms."]
    lines += [f"Longest task step, p99.9: {result['longest_step_p999_ms']:.2f} ms (≤ 5)."]
    return "\n".join(lines)
