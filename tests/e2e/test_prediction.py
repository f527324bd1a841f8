"""The simulator foretells what a whole system does: the same fifty machines and five hundred requests in both."""

from __future__ import annotations

import json
from random import Random
from typing import NamedTuple

import pytest
import trio

from server.registry import RoutingPolicy
from server.relay.clocks import RelayTimes
from server.sim import Policy, Setup, make_report, simulate
from server.sim.catalog import SimModel
from server.sim.clients import FICKLE
from server.sim.faults import MachineEvent
from server.sim.fleet import MachineSpec
from server.sim.statistics import percentile
from server.sim.trace import Arrival
from tests.testbed.consumer import chat_body, connect
from tests.testbed.coordinator import API_KEY, Coordinator, Launch
from tests.testbed.sim_provider import MODEL, SimulatedProvider
from tests.testbed.sim_script import Failure, FaultScript, SessionScript, say

PROVIDERS, REQUESTS, SEED = 50, 500, 17
PLACES = 3
PIECES = 10
GAP_SECONDS = 0.6
MEAN_PAUSE_SECONDS = 0.12
"""Slow enough that a machine which tests run on keeps up: what is compared are decisions, not processors."""
FAILING, SILENT = range(6), range(6, 8)
"""Machines that fail everything at once, and machines that never answer."""
SETTINGS = {
    "DARKBLOOM_FIRST_CONTENT_BASE": "15s",
    "DARKBLOOM_QUEUE_MAX_DEPTH": "1024",
    "DARKBLOOM_QUEUE_MAX_WAIT": "20s",
    "DARKBLOOM_REGISTRATIONS_PER_MINUTE": "10000",
}


class Seen(NamedTuple):
    """What the clients of one system saw: how many answers, and ms to the first content of each."""

    answered: int
    ttft_ms: list[float]

    def at(self, share: float) -> float:
        """Percentile of the times to first content."""
        return percentile(sorted(self.ttft_ms), share) or 0.0


def delays(random: Random) -> list[float]:
    """Seconds that each machine takes until its first piece."""
    return [random.uniform(1.0, 5.0) for _ in range(PROVIDERS)]


def arrivals(random: Random) -> list[float]:
    """Seconds at which the requests are sent."""
    now, found = 0.0, []
    for _ in range(REQUESTS):
        now += random.expovariate(1 / MEAN_PAUSE_SECONDS)
        found.append(now)
    return found


def foretold(at: list[float], delay: list[float]) -> Seen:
    """What the simulator says of it."""
    machines = [
        MachineSpec(
            id=f"p{number:02d}",
            chip="Unknown|Unknown",
            decode=100.0,
            prefill=4_000.0,
            honesty=1 / (100.0 * GAP_SECONDS),
            candid=False,
            contention=False,
            delay=seconds,
            concurrency=PLACES,
            models=(MODEL,),
            warm=(MODEL,),
        )
        for number, seconds in enumerate(delay)
    ]
    events = [MachineEvent(at=0.0, machine=machines[number].id, what="error") for number in FAILING]
    events += [MachineEvent(at=0.0, machine=machines[number].id, what="stall") for number in SILENT]
    setup = Setup(
        name="prediction",
        seed=SEED,
        arrivals=[
            Arrival(t_ms=1000 * moment, model=MODEL, prompt=2, max_tokens=256, out=PIECES + 1, account="a")
            for moment in at
        ],
        machines=machines,
        models=(SimModel(id=MODEL, size_gb=0.002, kv_rate=4_096),),
        events=events,
        manners=lambda _job: FICKLE,
        latency=(0.001, 0.003),
    )
    policy = Policy(
        routing=RoutingPolicy(queue_max_depth=1_024, queue_max_wait=20.0, first_content_base_ms=15_000.0),
        times=RelayTimes(first_content_base=15.0),
    )
    run = simulate(setup, policy)
    assert make_report(run).unfinished == 0
    served = [job for job in run.tally.jobs if job.served]
    return Seen(len(served), [job.ttft_ms for job in served if job.ttft_ms is not None])


def machine(number: int, delay: float) -> SimulatedProvider:
    """The same machine, over real sockets."""
    script = FaultScript(first_delay_seconds=delay, gap_seconds=GAP_SECONDS, preamble=False)
    if number in FAILING:
        script = FaultScript(fail_at=0, preamble=False, failure=Failure(failure_code="internal_failure"))
    elif number in SILENT:
        script = FaultScript(stall_at=0, preamble=False)
    return SimulatedProvider(
        answering=say(*(f"{piece} " for piece in range(PIECES)), script=script),
        script=SessionScript(heartbeat_seconds=5.0),
        max_concurrency=PLACES,
    )


async def measured(server: Coordinator, at: list[float], delay: list[float]) -> Seen:
    """What clients of the real system see."""
    times: list[float] = []
    answered = 0

    async def ask(moment: float) -> None:
        nonlocal answered
        await trio.sleep_until(moment)
        async with connect(server.port) as consumer:
            headers = {"authorization": f"Bearer {API_KEY}"}
            head = await consumer.post("/v1/chat/completions", chat_body(MODEL, max_tokens=256), headers)
            first: float | None = None
            last = ""
            async for event in consumer.events() if head.status == 200 else _nothing():
                last = event
                if first is None and event != "[DONE]" and _has_content(event):
                    first = trio.current_time()
            if last == "[DONE]" and first is not None:
                answered += 1
                times.append(1000 * (first - moment))

    async with trio.open_nursery() as machines:
        for number, seconds in enumerate(delay):
            machines.start_soon(machine(number, seconds).stay, server.link_url)
        await server.routable(MODEL, PROVIDERS)
        begin = trio.current_time() + 1.0
        with trio.fail_after(180):
            async with trio.open_nursery() as requests:
                for moment in at:
                    requests.start_soon(ask, begin + moment)
        machines.cancel_scope.cancel()
    return Seen(answered, times)


async def _nothing():  # type: ignore[no-untyped-def]
    for event in ():
        yield event


def _has_content(event: str) -> bool:
    choices = json.loads(event).get("choices") or []
    return bool(choices and choices[0]["delta"].get("content"))


@pytest.mark.nightly
async def test_served_share_and_first_contents_are_within_a_tenth_of_what_was_foretold(launch: Launch) -> None:
    random = Random(SEED)
    delay, at = delays(random), arrivals(random)
    said = foretold(at, delay)
    async with launch(SETTINGS) as server:
        seen = await measured(server, at, delay)
    assert said.answered >= 0.8 * REQUESTS
    assert abs(seen.answered - said.answered) <= 0.1 * REQUESTS
    for share in (0.5, 0.9):
        assert seen.at(share) == pytest.approx(said.at(share), rel=0.1)
