"""Providers that die, fail or cheat: what the consumer sees, and what happens to the provider."""

from __future__ import annotations

import json

import pytest
import trio

from tests.testbed.consumer import chat, text_of
from tests.testbed.coordinator import API_KEY, Coordinator
from tests.testbed.sim_provider import MODEL, SimulatedProvider
from tests.testbed.sim_script import Answering, Failure, FaultScript, say
from tests.testbed.waiting import until

EVENTS = "darkbloom_link_events_total"
GOOD = ("The ", "good ", "answer")


def first_fails(script: FaultScript, providers: list[SimulatedProvider]) -> Answering:
    """Let whichever provider is asked first commit the faults, and every later one answer well."""
    asked: list[int] = []

    def answering(body: object) -> object:
        asked.append(1)
        return say(*GOOD, script=script if len(asked) == 1 else None)(body)  # type: ignore[arg-type]

    for provider in providers:
        provider.answering = answering  # type: ignore[assignment]
    return answering  # type: ignore[return-value]


@pytest.mark.twin_scenario
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "script",
    [
        FaultScript(die_at=0),
        FaultScript(die_at=0, preamble=False),
        FaultScript(fail_at=0, failure=Failure(status_code=500, failure_code="generation_failure")),
        FaultScript(fail_at=0, failure=Failure(status_code=503, failure_code="capacity", error_reason="capacity_busy")),
    ],
    ids=["dies-after-preamble", "dies-at-once", "fault", "busy"],
)
async def test_failure_before_content_is_not_noticed(running: Coordinator, script: FaultScript, stream: bool) -> None:
    providers = [SimulatedProvider(), SimulatedProvider()]
    first_fails(script, providers)
    async with providers[0].session(running.link_url), providers[1].session(running.link_url):
        head, text, events = await chat(running.port, API_KEY, MODEL, stream=stream)
    assert head.status == 200
    assert text == "".join(GOOD)
    assert events.count("[DONE]") == (1 if stream else 0)
    winner = next(
        p for p in providers if p.heard("request") and p.heard("request")[-1][1] == head.headers["x-inference-job-id"]
    )
    assert len(winner.heard("request")) == 1


async def test_death_after_content_is_one_error_event(running: Coordinator) -> None:
    provider = SimulatedProvider(answering=say(*GOOD, script=FaultScript(die_at=2)))
    async with provider.session(running.link_url):
        with trio.fail_after(10):
            head, text, events = await chat(running.port, API_KEY, MODEL)
    assert head.status == 200
    assert text == "".join(GOOD[:2])
    assert [event for event in events if "error" in event] == events[-1:]
    assert json.loads(events[-1])["error"]["type"] == "provider_error"
    assert "[DONE]" not in events


CHEATS = {
    "tampered": FaultScript(tamper_at=0),
    "plaintext": FaultScript(plain_at=0),
    "foreign-key": FaultScript(foreign_at=0),
    "mixed": FaultScript(mixed_at=0),
}


def untrusted(provider: SimulatedProvider) -> bool:
    """Tell whether the provider was told that it lost its trust."""
    return any(entry[2] == "untrusted" for entry in provider.heard("trust"))


@pytest.mark.twin_scenario
@pytest.mark.parametrize("script", CHEATS.values(), ids=CHEATS)
async def test_cheating_before_content_fails_over_and_costs_the_trust(
    running: Coordinator, script: FaultScript
) -> None:
    providers = [SimulatedProvider(), SimulatedProvider()]
    first_fails(script, providers)
    async with providers[0].session(running.link_url), providers[1].session(running.link_url):
        head, text, _events = await chat(running.port, API_KEY, MODEL)
        assert head.status == 200
        assert text == "".join(GOOD)
        await until(lambda: any(map(untrusted, providers)))
        cheats = [provider for provider in providers if untrusted(provider)]
        assert len(cheats) == 1
        asked = len(cheats[0].heard("request"))
        for _ in range(3):
            await chat(running.port, API_KEY, MODEL)
        assert len(cheats[0].heard("request")) == asked


@pytest.mark.parametrize("script", CHEATS.values(), ids=CHEATS)
async def test_cheating_alone_is_502_before_content(running: Coordinator, script: FaultScript) -> None:
    provider = SimulatedProvider(answering=say(*GOOD, script=script))
    async with provider.session(running.link_url):
        head, _text, events = await chat(running.port, API_KEY, MODEL, "secret prompt")
    assert head.status == 502
    assert "good" not in events[0]


@pytest.mark.parametrize("name", CHEATS)
async def test_cheating_after_content_is_an_error_event(running: Coordinator, name: str) -> None:
    field = {"tampered": "tamper_at", "plaintext": "plain_at", "foreign-key": "foreign_at", "mixed": "mixed_at"}[name]
    script = FaultScript(**{field: 2})  # type: ignore[arg-type]
    provider = SimulatedProvider(answering=say(*GOOD, script=script))
    async with provider.session(running.link_url):
        head, text, events = await chat(running.port, API_KEY, MODEL)
    assert head.status == 200
    assert text == "".join(GOOD[:2])
    assert "error" in json.loads(events[-1])
    assert "[DONE]" not in events


@pytest.mark.twin_scenario
async def test_malformed_and_unknown_frames_are_dropped_and_counted(running: Coordinator) -> None:
    provider = SimulatedProvider(answering=say(*GOOD, script=FaultScript(malformed_at=1, unknown_at=2)))
    counted = [await running.metric(EVENTS, event=event) for event in ("frame_malformed", "frame_unknown")]
    async with provider.session(running.link_url):
        head, text, events = await chat(running.port, API_KEY, MODEL)
        again = await chat(running.port, API_KEY, MODEL)
        assert not provider.heard("closed")
        assert await running.metric(EVENTS, event="frame_malformed") == counted[0] + 2
        assert await running.metric(EVENTS, event="frame_unknown") == counted[1] + 2
    assert (head.status, text, events[-1]) == (200, "".join(GOOD), "[DONE]")
    assert text_of(again[2]) == "".join(GOOD)


async def test_nobody_serves_the_model_is_a_clean_refusal(running: Coordinator) -> None:
    head, _text, events = await chat(running.port, API_KEY, "no-such-model")
    assert head.status == 404
    assert json.loads(events[0])["error"]["code"] == "model_not_found"
