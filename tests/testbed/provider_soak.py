"""The provider soak: `python -m tests.testbed.provider_soak --seconds N` wears a real provider down with mixed traffic.

A real process with the demo model and two random ones, but slots for two of them, so that models are loaded and evicted
all the time. Requests of all sizes, some cancelled, some never read to their end, orders to load, and dropped
connections. Each request must get exactly one terminal; in the end memory, descriptors and threads must be what they
were when everything had been used once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from random import Random, SystemRandom

import trio

from protocol.messages.from_provider import InferenceComplete
from protocol.messages.to_provider import LoadModel
from tests.testbed.processes import Child, child
from tests.testbed.provider_soak_link import SoakCoordinator
from tests.testbed.sealed_asker import chat
from tests.testbed.tiny_model import TinyShape, build_tiny_model

DEMO = "darkbloom-demo"
ASKERS = 6
MIB = 1024 * 1024
PARTS, WARM_PARTS = 6, 2
"""The first parts of the run fill caches and the allocator's arenas; growth is measured from their end on."""

GROWTH_SHARE, GROWTH_BYTES = 1.05, 4 * MIB
ANSWER_SECONDS = 120.0
# Quiet is no nearer than the end of the slowest request.
QUIET_SECONDS = ANSWER_SECONDS
SETTINGS = {
    "DARKBLOOM_DEV": "1",
    "DARKBLOOM_MAX_MODEL_SLOTS": "2",
    "DARKBLOOM_MAX_CONCURRENT": "4",
    "DARKBLOOM_IDLE_TIMEOUT": "20s",
    "DARKBLOOM_HEARTBEAT_INTERVAL": "1s",
    "DARKBLOOM_MEMORY_CHECK": "1s",
    "DARKBLOOM_LOG_LEVEL": "warn",
}
REFUSED_LOAD = '"msg":"model not loaded"'
"""An order to load may find all slots taken."""

EXPECTED = {"capacity", "model_unavailable", "cancelled"}
"""Failures that a busy machine may give: all slots taken, or a request that was cut off."""


class Footprint:
    """What a process holds, from /proc, without the freed buffers that its allocator keeps for the next request."""

    def __init__(self, pid: int, cached_bytes: int) -> None:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        self.cached = cached_bytes
        self.memory = int(status["RssAnon"].split()[0]) * 1024 - cached_bytes
        self.threads = int(status["Threads"])
        self.descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))

    def __str__(self) -> str:
        kept = f"{self.cached / MIB:.1f} kept for reuse"
        return f"{self.memory / MIB:.1f} MiB and {kept}, {self.threads} threads, {self.descriptors} descriptors"


class ProviderSoak:
    """One run; `broken` collects what must not happen."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.counts: Counter[str] = Counter()
        self.broken: list[str] = []
        self.prints: list[Footprint] = []
        self._number = 0
        self._stopping = False

    async def run(self, seconds: float, home: Path) -> None:
        """Soak for so many seconds in a folder of its own."""
        models = {name: build_tiny_model(home / name, shape=shape) for name, shape in SHAPES.items()}
        offered = [argument for name, path in models.items() for argument in ("--model", f"{name}={path}")]
        async with SoakCoordinator.open() as coordinator:
            command = ["-m", "provider.cli", "start", "--foreground", "--model", "demo", *offered]
            command += ["--coordinator", coordinator.url]
            settings = {"DARKBLOOM_HOME": str(home / "home"), **SETTINGS}
            async with child(command, home=home, settings=settings, name="provider") as process:
                with trio.fail_after(60):
                    await coordinator.registered()
                await self._load(coordinator, process, seconds)
            if process.process.returncode != 0:
                self.broken.append(f"the provider ended with {process.process.returncode}")
                self.broken += process.text().splitlines()[-40:]
            lines = process.text().splitlines()
            faults = [line for line in lines if '"level":"error"' in line and REFUSED_LOAD not in line]
            self.broken += [f"log: {line[:300]}" for line in faults]

    async def _load(self, coordinator: SoakCoordinator, process: Child, seconds: float) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(ASKERS):
                nursery.start_soon(self._ask_for_ever, coordinator)
            nursery.start_soon(self._disturb, coordinator)
            for part in range(1, PARTS + 1):
                await trio.sleep(seconds / PARTS)
                coordinator.pause()
                await coordinator.quiet(QUIET_SECONDS, self.broken)
                self.prints.append(Footprint(process.pid, coordinator.cached_bytes))
                if part < PARTS:
                    coordinator.resume()
            self._stopping = True
            coordinator.resume()
            nursery.cancel_scope.cancel()
        self._judge()

    async def _ask_for_ever(self, coordinator: SoakCoordinator) -> None:
        while not self._stopping:
            await coordinator.may_ask()
            self._number += 1
            model = self.random.choices([DEMO, *SHAPES], [3, 2, 1])[0]
            prompt = "word " * self.random.choice((1, 5, 40, 300))
            body = chat(prompt, model, max_tokens=self.random.choice((1, 8, 40, 150)), temperature=0.8)
            habit = self.random.choices(("read", "cancel"), (85, 15))[0]
            try:
                with trio.fail_after(ANSWER_SECONDS):
                    outcome = await coordinator.ask(f"r{self._number}", body, cancel=habit == "cancel", rng=self.random)
            except trio.TooSlowError:
                self.broken.append(f"request {self._number} for {model} had no end within {ANSWER_SECONDS:.0f} s")
                continue
            self._count(habit, outcome)

    def _count(self, habit: str, outcome: object) -> None:
        if outcome is None:
            self.counts["connection dropped"] += 1
        elif isinstance(outcome, InferenceComplete):
            self.counts[f"{habit} complete"] += 1
        else:
            code = str(getattr(outcome, "failure_code", ""))
            self.counts[f"{habit} {code}"] += 1
            if code not in EXPECTED:
                self.broken.append(f"a request failed with {code}")

    async def _disturb(self, coordinator: SoakCoordinator) -> None:
        """Order loads, and drop the connection now and then."""
        while True:
            await trio.sleep(self.random.uniform(2, 6))
            await coordinator.may_ask()
            if self.random.random() < 0.1:
                self.counts["drops"] += 1
                await coordinator.drop()
            else:
                self.counts["load orders"] += 1
                await coordinator.send(LoadModel(model_id=self.random.choice([DEMO, *SHAPES])))

    def _judge(self) -> None:
        first, end = self.prints[:WARM_PARTS], self.prints[-1]
        warm = first[-1]
        if end.memory > warm.memory * GROWTH_SHARE + GROWTH_BYTES:
            self.broken.append(f"memory grew from {warm.memory / MIB:.1f} to {end.memory / MIB:.1f} MiB")
        # A thread that waits for work leaves after ten seconds, so one look may miss it.
        for what in ("descriptors", "threads"):
            before, now = max(getattr(one, what) for one in first), getattr(end, what)
            if now > before:
                self.broken.append(f"{what} grew from {before} to {now}")
        if not self.counts["read complete"]:
            self.broken.append("not one request was answered")

    def summary(self) -> str:
        """Lines for people."""
        lines = [f"{self._number} requests:"]
        lines += [f"  {count:6d}  {name}" for name, count in sorted(self.counts.items())]
        lines += [f"footprint {part}/{len(self.prints)}: {shown}" for part, shown in enumerate(self.prints, 1)]
        lines.append(f"{len(self.broken)} broken" if self.broken else "all invariants hold")
        lines += [f"  {text}" for text in self.broken[:20]]
        return "\n".join(lines)


SHAPES = {"tiny-a": TinyShape(), "tiny-b": TinyShape(num_hidden_layers=2, hidden_size=64, intermediate_size=128)}


def main() -> None:
    """Parse the command line, run and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**9))
    arguments = parser.parse_args()
    print(f"provider soak: {arguments.seconds:.0f} s, seed {arguments.seed}", flush=True)
    soak = ProviderSoak(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="darkbloom-provider-soak-") as folder:
        trio.run(soak.run, arguments.seconds, Path(folder))
    print(soak.summary())
    sys.exit(1 if soak.broken else 0)


if __name__ == "__main__":
    main()
