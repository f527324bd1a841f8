"""Five hundred requests at once, fifty machines that die, stall or refuse: nothing is lost, nothing is told twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Any

import trio

from tests.testbed.consumer import chat
from tests.testbed.coordinator import API_KEY, Coordinator, Launch
from tests.testbed.sim_provider import MODEL, SimulatedProvider
from tests.testbed.sim_script import Answer, Answering, Failure, FaultScript, SessionScript

PROVIDERS, REQUESTS, SEED = 50, 500, 61
SPREAD_SECONDS = 1.0
"""From the first request to the last: shorter than an answer takes, so that nearly all of them are open together."""
PIECES = ("one ", "two ", "three ", "four ")
SETTINGS = {
    "DARKBLOOM_FIRST_CONTENT_BASE": "6s",
    "DARKBLOOM_QUEUE_MAX_DEPTH": "512",
    "DARKBLOOM_QUEUE_MAX_WAIT": "10s",
    "DARKBLOOM_REGISTRATIONS_PER_MINUTE": "10000",
}
FAULTS: tuple[tuple[float, FaultScript], ...] = (
    # A death takes every other answer of the machine with it.
    (0.006, FaultScript(die_at=0)),
    (0.004, FaultScript(die_at=2)),
    (0.04, FaultScript(fail_at=0, failure=Failure(status_code=500, failure_code="generation_failure"))),
    (
        0.04,
        FaultScript(fail_at=0, failure=Failure(status_code=503, failure_code="capacity", error_reason="capacity_busy")),
    ),
    (0.05, FaultScript(stall_at=0, preamble=False)),
    (0.02, FaultScript(stall_at=0, preamble=False, answer_cancel=False)),
    (0.02, FaultScript(fail_at=3, failure=Failure(status_code=500, failure_code="generation_failure"))),
)
STABLE = {
    200: {"provider_error", "timeout"},
    429: {"rate_limit_exceeded"},
    502: {"provider_error"},
    503: {"provider_error", "model_unavailable", "service_unavailable"},
    504: {"provider_error", "timeout"},
}
"""The types of error that a failed request may have, by status; 200 is an answer that broke after its head."""


def unreliable(random: Random) -> Answering:
    """Answer well most of the time."""

    def answering(_body: Mapping[str, Any]) -> tuple[Answer, FaultScript]:
        draw = random.random()
        for share, script in FAULTS:
            draw -= share
            if draw < 0:
                return Answer(pieces=PIECES), script
        return Answer(pieces=PIECES), FaultScript(first_delay_seconds=random.uniform(0.0, 1.0), gap_seconds=0.2)

    return answering


def ending_of(status: int, text: str, events: list[str], *, stream: bool) -> str:
    """Check that the answer has exactly one end, and name it."""
    if status == 200 and not stream:
        assert text == "".join(PIECES)
        return "answered"
    if status == 200 and events[-1] == "[DONE]":
        assert events.count("[DONE]") == 1
        assert text == "".join(PIECES)
        assert not any("error" in json.loads(event) for event in events[:-1])
        return "answered"
    errors = [json.loads(event)["error"] for event in events if event != "[DONE]" and "error" in json.loads(event)]
    assert len(errors) == 1, events
    assert "[DONE]" not in events
    assert errors[0]["type"] in STABLE[status], (status, errors)
    return f"{status} {errors[0]['type']}"


async def storm(server: Coordinator, providers: list[SimulatedProvider]) -> Counter[str]:
    """Ask everything at once, and give how the requests ended."""
    endings: Counter[str] = Counter()

    async def ask(number: int) -> None:
        await trio.sleep(number * SPREAD_SECONDS / REQUESTS)
        stream = number % 4 != 0
        head, text, events = await chat(server.port, API_KEY, MODEL, stream=stream)
        endings[ending_of(head.status, text, events, stream=stream)] += 1

    async with trio.open_nursery() as machines:
        for provider in providers:
            machines.start_soon(provider.stay, server.link_url)
        await server.routable(MODEL, PROVIDERS)
        with trio.fail_after(60):
            async with trio.open_nursery() as requests:
                for number in range(REQUESTS):
                    requests.start_soon(ask, number)
        machines.cancel_scope.cancel()
    return endings


async def test_a_storm_with_faults_loses_nothing(launch: Launch) -> None:
    random = Random(SEED)
    providers = [
        SimulatedProvider(
            answering=unreliable(Random(random.random())),
            script=SessionScript(heartbeat_seconds=2.0),
            max_concurrency=16,
        )
        for _ in range(PROVIDERS)
    ]
    async with launch(SETTINGS) as server:
        endings = await storm(server, providers)
        await server.until_idle()
        assert endings.total() == REQUESTS
        # Faults of one machine are hidden by another one; what broke after its first content, and what a starved test
        # machine did too late, cannot be: on an idle one nearly all are answered.
        assert endings["answered"] >= 0.6 * REQUESTS, endings
        assert await server.metric("darkbloom_inference_requests_total") == REQUESTS
        won = await server.metric("darkbloom_hedge_outcomes_total", outcome="won")
        lost = await server.metric("darkbloom_hedge_outcomes_total", outcome="lost")
        assert won >= 1
        assert won + lost <= await server.metric("darkbloom_hedges_total", verdict="allow")
        assert [line for line in server.lines() if line["level"] == "error"] == []
