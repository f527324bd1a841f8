"""`python -m tests.testbed.soak --seconds N`: one coordinator under random load and faults, then a look at the rest.

A seed is printed and can be given again with `--seed`; timing keeps two runs from being the same. Exits 1 when an
invariant was broken, and prints which.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random, SystemRandom

import trio

from tests.testbed.coordinator import API_KEY, Coordinator, coordinator
from tests.testbed.soak_load import KEYS, Crowd, Fleet

PROVIDERS, CONSUMERS = 4, 24
MIB = 1024 * 1024
# What a process may grow between a quarter of the run and its end: a share for its caches, and the allocator's slack.
GROWTH_SHARE, GROWTH_BYTES = 1.25, 24 * MIB
SETTLE_SECONDS = 15.0
SETTINGS = {
    "DARKBLOOM_API_KEYS": ",".join((API_KEY, *KEYS)),
    "DARKBLOOM_FIRST_CONTENT_BASE": "2s",
    "DARKBLOOM_CHUNK_GAP_TIMEOUT": "3s",
    "DARKBLOOM_SETTLE_GRACE": "2s",
    "DARKBLOOM_QUEUE_MAX_WAIT": "5s",
    "DARKBLOOM_REGISTRATIONS_PER_MINUTE": "100000",
}
ROUTE = "/v1/chat/completions"
# Counters that stay at zero as long as nothing of ours breaks.
ZERO: Mapping[str, Mapping[str, str]] = {
    "darkbloom_settlement_failures_total": {},
    "darkbloom_task_crashes_total": {},
    "darkbloom_connection_crashes_total": {},
    "darkbloom_log_lines_dropped": {},
    "darkbloom_link_events_total": {"event": "sink_error"},
}


class Soak:
    """One run; `broken` collects the invariants that do not hold."""

    def __init__(self, server: Coordinator, seed: int) -> None:
        self.server = server
        self.fleet = Fleet(PROVIDERS, Random(seed))
        self.crowd = Crowd(server, Random(seed + 1))
        self.broken: list[str] = []
        self.memory: list[float] = []

    async def run(self, seconds: float) -> None:
        """Load for so many seconds, let everything come to rest, then look."""
        async with trio.open_nursery() as providers:
            for index in range(PROVIDERS):
                providers.start_soon(self.fleet.restart, index, self.server.link_url)
            await self.server.routable(self.fleet.providers[0].models[0])
            async with trio.open_nursery() as consumers:
                for _ in range(CONSUMERS):
                    consumers.start_soon(self.crowd.live)
                await trio.sleep(seconds / 4)
                self.memory.append(await self.server.metric("process_resident_memory_bytes"))
                await trio.sleep(seconds * 3 / 4)
                self.crowd.stopping = True
            self.fleet.faulty = False
            await self._at_rest()
            providers.cancel_scope.cancel()
        await self._comes_to("providers that left", {"darkbloom_providers": {}})
        await self._look()
        await self._end()

    async def _at_rest(self) -> None:
        """No request is left, and no provider has a reservation, while all are still connected."""
        nothing = {
            "darkbloom_inflight_requests": {},
            "darkbloom_queue_depth": {},
            "darkbloom_providers": {"status": "serving"},
        }
        await self._comes_to("requests and reservations", nothing)
        await self._comes_to("slots that are in use", {"darkbloom_provider_slots": {"state": "loading"}})
        self.memory.append(await self.server.metric("process_resident_memory_bytes"))

    async def _comes_to(self, what: str, families: Mapping[str, Mapping[str, str]]) -> None:
        """Note which of the gauges do not come to zero in time."""
        left: dict[str, float] = {}
        with trio.move_on_after(SETTLE_SECONDS):
            while True:
                left = {name: await self.server.metric(name, **labels) for name, labels in families.items()}
                if not any(left.values()):
                    return
                await trio.sleep(0.1)
        self.broken.append(f"left over: {what}: {left}")

    async def _look(self) -> None:
        metric = self.server.metric
        for name, labels in ZERO.items():
            if found := await metric(name, **labels):
                self.broken.append(f"{name}{dict(labels) or ''} is {found:.0f}")
        asked = await metric("darkbloom_http_requests_total", route=ROUTE)
        gone = await metric("darkbloom_http_requests_total", route=ROUTE, status="499")
        settled = await metric("darkbloom_inference_requests_total")
        if not asked - gone <= settled <= asked:
            self.broken.append(f"{asked:.0f} requests, {gone:.0f} of them gone early, but {settled:.0f} settlements")
        warm, end = self.memory
        if end > warm * GROWTH_SHARE + GROWTH_BYTES:
            self.broken.append(f"memory grew from {warm / MIB:.0f} to {end / MIB:.0f} MiB")
        if (await self.server.get("/readyz")).status_code != 200:
            self.broken.append("the coordinator is not ready")
        if not any("complete" in name for name in self.crowd.counts):
            self.broken.append("not one request was answered")
        self.broken += self.crowd.wrong

    async def _end(self) -> None:
        self.server.process.signal(signal.SIGTERM)
        if (code := await self.server.process.wait(10)) != 0:
            self.broken.append(f"the coordinator ended with {code}")
        errors = [line for line in self.server.lines() if line["level"] == "error"]
        self.broken += [f"log: {line}" for line in errors]

    def summary(self, seconds: float) -> Iterable[str]:
        """Lines for people."""
        total = sum(self.crowd.counts.values())
        yield f"{total} requests in {seconds:.0f} s:"
        yield from (f"  {count:6d}  {name}" for name, count in sorted(self.crowd.counts.items()))
        yield f"{sum(self.fleet.drawn.values())} faults:"
        yield from (f"  {count:6d}  {name}" for name, count in sorted(self.fleet.drawn.items()))
        yield f"memory: {' -> '.join(f'{value / MIB:.1f}' for value in self.memory)} MiB"
        yield f"invariants: {len(self.broken)} broken" if self.broken else "invariants: all hold"
        yield from (f"  {text[:500]}" for text in self.broken[:20])


async def soak(seconds: float, seed: int, home: Path) -> Soak:
    """Run one soak in a folder of its own."""
    # A file: books in memory would grow with every request, and hide what else does.
    async with coordinator(home, {**SETTINGS, "DARKBLOOM_DATABASE_URL": f"sqlite:///{home / 'books.db'}"}) as server:
        run = Soak(server, seed)
        await run.run(seconds)
    return run


def main() -> None:
    """Parse the command line, run and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**9))
    arguments = parser.parse_args()
    print(f"soak: {arguments.seconds:.0f} s, seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="darkbloom-soak-") as folder:
        run = trio.run(soak, arguments.seconds, arguments.seed, Path(folder))
    print("\n".join(run.summary(arguments.seconds)))
    sys.exit(1 if run.broken else 0)


if __name__ == "__main__":
    main()
