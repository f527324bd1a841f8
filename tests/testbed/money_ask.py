"""Asking for money's sake: chat requests of a person, the provider's answers that have a price, and waiting for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import trio

from tests.testbed.consumer import Head, chat_body, connect, text_of
from tests.testbed.money_people import People, Person
from tests.testbed.sim_provider import MODEL
from tests.testbed.sim_script import Answer, Failure, FaultScript

PATH = "/v1/chat/completions"
PIECES, PROMPT_TOKENS = 350, 900
COST = 115
"""Of that many tokens at the fallback price, in micro-USD."""
ENDLESS = 10_000


@dataclass(frozen=True, slots=True)
class Said:
    """An answer: its head, its text, and its events or its one body."""

    head: Head
    text: str
    events: list[str]

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.head.status

    @property
    def error(self) -> dict[str, Any]:
        """The inside of the error, of the body or of the last event."""
        found: dict[str, Any] = json.loads(self.events[-1])["error"]
        return found


def answering(body: Mapping[str, Any]) -> tuple[Answer, FaultScript]:
    """Answer as the prompt says; every plain answer costs COST."""
    priced = Answer(pieces=["word "] * PIECES, prompt_tokens=PROMPT_TOKENS)
    endless = Answer(pieces=["word "] * ENDLESS, prompt_tokens=PROMPT_TOKENS)
    match str(body["messages"][-1]["content"]).split()[0]:
        case "endless":
            return endless, FaultScript(gap_seconds=0.01)
        case "mute":  # stops when it is cancelled, and never says what it used
            return endless, FaultScript(gap_seconds=0.01, answer_cancel=False)
        case "break":
            return priced, FaultScript(fail_at=3, failure=Failure(failure_code="generation_failure"))
        case "fail":
            return priced, FaultScript(fail_at=0, failure=Failure(failure_code="generation_failure"))
        case "wide":
            return Answer(pieces=["w" * 4096] * 2000, prompt_tokens=PROMPT_TOKENS), FaultScript(gap_seconds=0.001)
        case "paced":
            pieces = ["word "] * PIECES
            return Answer(pieces=pieces, prompt_tokens=PROMPT_TOKENS), FaultScript(gap_seconds=0.003)
        case _:
            return priced, FaultScript(chunks_per_write=50)


def priced_body(prompt: str = "ask", *, stream: bool = True, **more: Any) -> bytes:
    """Give the JSON of a request that is long enough for PROMPT_TOKENS."""
    return chat_body(MODEL, f"{prompt} {'x' * PROMPT_TOKENS}", stream=stream, **more)


async def ask(
    port: int,
    person: Person,
    prompt: str = "ask",
    *,
    stream: bool = True,
    headers: Mapping[str, str] | None = None,
    on_begun: Callable[[], None] = lambda: None,
    **more: Any,
) -> Said:
    """Ask once as a person, and read the answer to its end; `on_begun` is called when a stream has begun."""
    async with connect(port) as consumer:
        body = priced_body(prompt, stream=stream, **more)
        head = await consumer.post(PATH, body, {"authorization": f"Bearer {person.key}", **(headers or {})})
        if not stream or head.status != 200:
            text = (await consumer.whole()).decode()
            choices = json.loads(text).get("choices") or [{"message": {"content": ""}}]
            return Said(head, choices[0]["message"]["content"], [text])
        on_begun()
        events = [event async for event in consumer.events()]
    return Said(head, text_of(events) if "error" not in events[-1] else "", events)


async def closed(people: People, person: Person, seconds: float = 10.0) -> None:
    """Wait until no reservation of a person is open."""
    with trio.fail_after(seconds):
        while any(state == "held" for state, _ in await people.reservations(person)):
            await trio.sleep(0.02)


async def held(people: People, person: Person, seconds: float = 10.0) -> None:
    """Wait until money of a person is held."""
    with trio.fail_after(seconds):
        while not (await people.balance(person)).held:
            await trio.sleep(0.02)
