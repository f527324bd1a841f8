"""What a routing decision costs, and how little of it depends on the size of the fleet.

A decision is one call that picks a provider out of all that offer the model (gates, cost, fair choice), reserves it and
brings the index up to date. Ten kinds of machines, their measured rates scattered, four in ten busy; the requests
have many sizes. `decision_us_10000_full` is the same where 99 of 100 have no room for the request; `…_v1` the same by
the first cost model. `decision_us_cached` are turns of conversations whose last machine is known, of 1,260 machines.
`heartbeat_us` goes from the bytes of a frame to the updated index: load and memory of the machine changed, and where it
is busy its requests and rates too. `heartbeat_changed_us` is one of a machine of which everything changed, the load
included. `cpu_share_2000` is the share of one core that 2,000 providers with a heartbeat each 5 s and 50 requests a
second take (decision, first content, release). `growth` gives medians by fleet size; `per_log` divides by log2 of the
size: it must not rise. `loop_ns` is one turn of an empty loop in the same run, to compare machines and hours. Times are
the processor time of the process, median.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from random import Random
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from protocol.codec import decode_from_provider, encode
from protocol.messages.from_provider import (
    BackendCapacity,
    Hardware,
    Heartbeat,
    ModelEntry,
    Register,
    Slot,
    Stats,
    SystemMetrics,
)
from server.ports import TrustState
from server.registry import PREFIX_DEPTHS, PrefixKey, Registry, RoutedRequest, RoutingPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.registry import Reservation

CostModel: TypeAlias = Literal["v1", "v2"]
MODEL: Final = "bench/model-4bit"
PROMPTS: Final = (40, 120, 300, 500, 700, 900, 1_000)
OUTPUTS: Final = (64, 128, 256)
HELD: Final = 64
TALKS: Final = 64
"""Conversations that go on at any time; their prompts have as many keys as one of 8 KiB."""
DEPTHS: Final = PREFIX_DEPTHS[:6]
KINDS: Final = (
    # family, tier, memory GiB, decode tok/s, prefill tok/s, tokens the memory holds
    ("M1", "Max", 32, 41, 380, 30_000),
    ("M1", "Ultra", 64, 62, 700, 90_000),
    ("M2", "Pro", 32, 28, 300, 30_000),
    ("M2", "Max", 64, 48, 520, 90_000),
    ("M2", "Ultra", 128, 74, 960, 220_000),
    ("M3", "Pro", 36, 24, 290, 36_000),
    ("M3", "Max", 64, 52, 640, 90_000),
    ("M4", "Pro", 48, 36, 470, 60_000),
    ("M4", "Max", 64, 69, 900, 90_000),
    ("M4", "Max", 128, 71, 910, 220_000),
)


class Channel:
    """A provider connection that nobody uses."""

    public_key = bytes(range(32))

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id

    def challenge_soon(self) -> None:
        """Nothing is asked for."""


class Bench:
    """A registry with `size` providers of one model; of those `full` (0..1) have no room for a request."""

    def __init__(self, size: int, *, full: float = 0.0, seed: int = 7, cost_model: CostModel | None = None) -> None:
        self.random = Random(seed)
        self.now = 1_000.0
        policy = RoutingPolicy() if cost_model is None else RoutingPolicy(cost_model=cost_model)
        self.registry = Registry(clock=lambda: self.now, policy=policy, random=Random(seed))
        self.names = [f"session-{number}" for number in range(size)]
        self.number = 0
        self.held: list[Reservation] = []
        trust = TrustState(
            level="hardware",
            verified_at=self.now,
            attested=True,
            runtime_verified=True,
            runtime_manifest_checked=True,
            challenge_verified_sip=True,
            private_text=True,
            admitted=True,
        )
        self.budgets: dict[str, int] = {}
        self.rates: dict[str, float] = {}
        self.running: dict[str, int] = {}
        self.slots: dict[str, Slot] = {}
        self.full = {name for number, name in enumerate(self.names) if number < full * size}
        for name in self.names:
            family, tier, memory, decode, prefill, budget = self.random.choice(KINDS)
            self.budgets[name] = budget
            self.rates[name] = decode * self.random.uniform(0.92, 1.08)
            self.running[name] = self.random.choice((0, 0, 0, 0, 0, 0, 1, 1, 2, 3))
            self.registry.register(
                session_id=name,
                message=Register(
                    hardware=Hardware(chip_family=family, chip_tier=tier, memory_gb=memory),
                    models=(ModelEntry(id=MODEL, size_bytes=8 * 10**9),),
                    backend="mlx-python",
                    version="1.0.0",
                    encrypted_response_chunks=True,
                    decode_tps=decode * self.random.uniform(0.97, 1.03),
                    prefill_tps=prefill * self.random.uniform(0.97, 1.03),
                ),
                channel=Channel(name),  # type: ignore[arg-type]
                stable_id=f"machine-{name}",
                account_id=None,
                trust=trust,
                now=self.now,
            )
            self.registry.heartbeat(name, self.report(name), self.now)

    def report(self, name: str, *, everything: bool = False) -> Heartbeat:
        """A heartbeat with new load figures; with `everything` also the number of requests is another one."""
        random = self.random
        if everything:
            self.running[name] = random.choice((0, 0, 0, 0, 0, 0, 1, 1, 2, 3))
        slot = self.slots.get(name)
        if slot is None or everything or self.running[name]:
            slot = self.slots[name] = self._slot(name)
        return Heartbeat(
            status="serving" if slot.num_running else "idle",
            stats=Stats(requests_served=random.randrange(10**6), tokens_generated=random.randrange(10**9)),
            system_metrics=SystemMetrics(
                memory_pressure=random.uniform(0.1, 0.6), cpu_usage=random.uniform(0, 0.5), thermal_state="nominal"
            ),
            backend_capacity=BackendCapacity(
                slots=(slot,), total_memory_gb=64.0, gpu_memory_active_gb=random.uniform(8, 40), free_for_load_gb=20.0
            ),
            active_model=MODEL,
            warm_models=(MODEL,),
        )

    def _slot(self, name: str) -> Slot:
        random, budget, running = self.random, self.budgets[name], self.running[name]
        used = min(budget, running * random.randrange(600, 4_000))
        if name in self.full:
            running, used = 2, budget - random.randrange(PROMPTS[0] + OUTPUTS[0])
        return Slot(
            model=MODEL,
            state="running" if running else "idle",
            num_running=running,
            max_tokens_potential=used // 2,
            observed_decode_tps=self.rates[name] * random.uniform(0.97, 1.03) / (1 + 0.39 * running),
            observed_prefill_tps=400.0,
            active_token_budget_max=budget,
            active_token_budget_used=used,
            kv_bytes_per_token=40_960,
        )

    def request(self, *, prefixes: tuple[PrefixKey, ...] = ()) -> RoutedRequest:
        """A public request of 104 to 1,256 tokens."""
        self.number += 1
        return RoutedRequest(
            request_id=f"request-{self.number}",
            logical_id=f"logical-{self.number}",
            model=MODEL,
            prompt_tokens=self.random.choice(PROMPTS) + self.random.randrange(20),
            max_tokens=self.random.choice(OUTPUTS),
            account_id="account",
            prefixes=prefixes,
        )

    def decision_us(self, rounds: int, *, in_talks: bool = False) -> float:
        """Median processor time of one decision; up to 64 requests run at any time.

        `in_talks`: each is a turn of a conversation, whose last machine holds the beginning of its prompt.
        """
        spent = []
        for number in range(rounds):
            keys = _keys(number % TALKS) if in_talks else ()
            request = self.request(prefixes=keys)
            self.now += 0.001
            spent.append(_cpu_us(lambda request=request: self._decide(request)))  # type: ignore[misc]
            if keys and self.held:
                self.registry.holders.confirm(MODEL, keys, self.held[-1].session_id, self.now)
            if self.held:
                self.held[-1].mark_streaming(self.now)
            if len(self.held) > HELD:
                self.held.pop(self.random.randrange(HELD)).release(self.now)
        return statistics.median(spent)

    def _decide(self, request: RoutedRequest) -> None:
        reservation = self.registry.choose_and_reserve(request, self.now).reservation
        if reservation is not None:
            self.held.append(reservation)

    def heartbeat_us(self, rounds: int, *, everything: bool = False) -> float:
        """Median processor time from the bytes of a heartbeat to the updated index."""
        spent = []
        for number in range(rounds):
            name = self.names[number % len(self.names)]
            frame = encode(self.report(name, everything=everything))
            self.now += 0.001
            spent.append(_cpu_us(lambda name=name, frame=frame: self._beat(name, frame)))  # type: ignore[misc]
        return statistics.median(spent)

    def _beat(self, name: str, frame: bytes) -> None:
        message = decode_from_provider(frame)
        if isinstance(message, Heartbeat):
            self.registry.heartbeat(name, message, self.now)

    def cpu_share(self, *, seconds: int, beats_per_second: int, requests_per_second: int) -> float:
        """Share of one core for so many heartbeats and requests a second."""
        frames = []
        for number in range(seconds * beats_per_second):
            name = self.names[number % len(self.names)]
            frames.append((name, encode(self.report(name))))
        gc.collect()
        started = time.process_time_ns()
        for second in range(seconds):
            self.now = 1_000.0 + second
            for name, frame in frames[second * beats_per_second : (second + 1) * beats_per_second]:
                self._beat(name, frame)
            for _ in range(requests_per_second):
                self._serve()
        return (time.process_time_ns() - started) / (seconds * 1e9)

    def _serve(self) -> None:
        self._decide(self.request())
        if len(self.held) > HELD:
            reservation = self.held.pop(0)
            reservation.mark_sent()
            reservation.mark_streaming(self.now)
            reservation.release(self.now)


def _keys(talk: int) -> tuple[PrefixKey, ...]:
    return tuple(PrefixKey(b"%d/%d" % (talk, depth), 256 * depth) for depth in DEPTHS)


def _cpu_us(work: Callable[[], None]) -> float:
    started = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - started) / 1000


def _loop_ns() -> float:
    spent = []
    for _ in range(20):
        started = time.thread_time_ns()
        for _ in range(100_000):
            pass
        spent.append((time.thread_time_ns() - started) / 100_000)
    return statistics.median(spent)


def _first_model_us(size: int, rounds: int, *, full: float) -> float:
    """The same decisions by cost v1."""
    fleet = Bench(size, full=full, cost_model="v1")
    gc.collect()
    gc.freeze()
    spent = fleet.decision_us(rounds)
    gc.unfreeze()
    return spent


def run(*, quick: bool = False) -> dict[str, Any]:
    """Measure all sizes."""
    rounds = 300 if quick else 4_000
    sizes = (100, 1_260, 3_000) if quick else (100, 1_260, 10_000, 30_000)
    largest = 3_000 if quick else 10_000
    growth = []
    figures: dict[str, Any] = {}
    for size in sizes:
        roomy = Bench(size)
        gc.collect()
        gc.freeze()
        row: dict[str, float] = {"providers": size, "decision_us": roomy.decision_us(rounds)}
        row["heartbeat_us"] = roomy.heartbeat_us(rounds)
        row["heartbeat_changed_us"] = roomy.heartbeat_us(rounds, everything=True)
        del roomy
        full = Bench(size, full=0.99)
        gc.collect()
        row["full_us"] = full.decision_us(rounds)
        del full
        row["decision_per_log"] = row["decision_us"] / math.log2(size)
        row["full_per_log"] = row["full_us"] / math.log2(size)
        growth.append({key: round(value, 2) for key, value in row.items()})
        gc.unfreeze()
        if size == 1_260:
            figures["decision_us_1260"] = row["decision_us"]
            figures["decision_us_1260_v1"] = _first_model_us(size, rounds, full=0.0)
            figures["decision_us_cached"] = Bench(size).decision_us(rounds, in_talks=True)
        if size == largest:
            figures["decision_us_10000"] = row["decision_us"]
            figures["decision_us_10000_v1"] = _first_model_us(size, rounds, full=0.0)
            figures["decision_us_10000_full"] = row["full_us"]
            figures["decision_us_10000_full_v1"] = _first_model_us(size, rounds, full=0.99)
            figures["heartbeat_us"] = row["heartbeat_us"]
            figures["heartbeat_changed_us"] = row["heartbeat_changed_us"]
    crowd = Bench(2_000)
    figures["cpu_share_2000"] = crowd.cpu_share(
        seconds=3 if quick else 15, beats_per_second=400, requests_per_second=50
    )
    figures["loop_ns"] = _loop_ns()
    figures = {key: round(value, 4 if key == "cpu_share_2000" else 1) for key, value in figures.items()}
    return figures | {"growth": growth}


def table(result: dict[str, Any]) -> str:
    """Render the figures."""
    lines = ["| figure | value |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in result.items() if key != "growth"]
    lines += [
        "",
        "| providers | decision µs | per log2 n | 99 % full µs | per log2 n | heartbeat µs | all of it changed µs |",
        "|" + "---|" * 7,
    ]
    lines += [
        f"| {row['providers']:.0f} | {row['decision_us']} | {row['decision_per_log']} | {row['full_us']} "
        f"| {row['full_per_log']} | {row['heartbeat_us']} | {row['heartbeat_changed_us']} |"
        for row in result["growth"]
    ]
    return "\n".join(lines)
