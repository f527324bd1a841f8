"""The load of the soak: providers that fail at random, and consumers that read, leave, dawdle and vanish at random."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Any, Literal

import h11
import trio

from tests.testbed.consumer import Consumer, Head, chat_body, connect, text_of
from tests.testbed.coordinator import API_KEY, Coordinator
from tests.testbed.sim_provider import GONE, MODEL, SimulatedProvider
from tests.testbed.sim_script import Answer, Failure, FaultScript, SessionScript

# Each key is an account of its own, and an account may have a quarter of a queue.
KEYS = tuple(f"{API_KEY}{number}" for number in range(8))
FAULT_SHARE = 0.05
ANSWER_SECONDS = 60.0
PAUSE_SECONDS = (1.0, 4.0)
WIDE_EVERY, WIDE_TEXT = 6, "w" * 3000

Habit = Literal["stream", "whole", "leave", "vanish", "dawdle", "stall"]
HABITS: Mapping[Habit, int] = {"stream": 55, "whole": 15, "leave": 10, "vanish": 8, "dawdle": 7, "stall": 5}
REFUSALS = {429, 502, 504}


def pieces_of(prompt: str) -> list[str]:
    """The right answer to a prompt of the form `N seed`; every sixth one is wide."""
    count, seed = (int(word) for word in prompt.split())
    random = Random(seed)
    filler = WIDE_TEXT if seed % WIDE_EVERY == 0 else 'é"\\\n🌍'
    return [f"{random.randrange(10**6)} {filler} " for _ in range(count)]


class Fleet:
    """Some providers that stay connected while a script of faults and restarts is drawn for them."""

    def __init__(self, count: int, random: Random) -> None:
        self.random = random
        self.faulty = True
        self.drawn: Counter[str] = Counter()
        self.providers = [self._provider() for _ in range(count)]

    def _provider(self) -> SimulatedProvider:
        script = SessionScript(heartbeat_seconds=0.5)
        return SimulatedProvider(answering=self.answer, script=script, max_concurrency=6, decode_tps=1000.0)

    def answer(self, body: Mapping[str, Any]) -> tuple[Answer, FaultScript]:
        """Answer rightly, with a fault now and then."""
        pieces = pieces_of(body["messages"][-1]["content"])
        fault: dict[str, Any] = {}
        if self.faulty and self.random.random() < FAULT_SHARE:
            name, fault = self.random.choice(list(self._faults(len(pieces)).items()))
            self.drawn[name] += 1
        gap = self.random.choice((0.0, 0.001, 0.005))
        return Answer(pieces=pieces), FaultScript(gap_seconds=gap, **fault)

    def _faults(self, count: int) -> dict[str, dict[str, Any]]:
        at = self.random.randrange(count + 1)
        return {
            "die": {"die_at": at},
            "stall": {"stall_at": at},
            "fail": {"fail_at": at, "failure": Failure(failure_code="generation_failure")},
            "busy": {
                "fail_at": 0,
                "failure": Failure(status_code=503, failure_code="capacity", error_reason="capacity_busy"),
            },
            "tamper": {"tamper_at": at},
            "plain": {"plain_at": at},
            "malformed": {"malformed_at": at},
            "unknown": {"unknown_at": at},
            "silent-end": {"terminal": False},
            "deaf": {"obey_cancel": False},
            "mute": {"answer_cancel": False},
            "slow-start": {"first_delay_seconds": 0.5},
        }

    async def restart(self, index: int, url: str) -> None:
        """Keep one provider connected, and end its connection at random: politely, or with a reset."""
        provider = self.providers[index]
        while True:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(provider.stay, url)
                await trio.sleep(self.random.uniform(*PAUSE_SECONDS))
                while not self.faulty:
                    await trio.sleep(0.1)
                if self.random.random() < 0.5 and provider.wire is not None:
                    provider.wire.reset()
                nursery.cancel_scope.cancel()
            self.drawn["restart"] += 1
            # A new device, or the strikes of the old one would keep it out for minutes.
            provider = self.providers[index] = self._provider()


class Crowd:
    """Consumers, and what became of their requests; `wrong` holds everything that must not happen."""

    def __init__(self, server: Coordinator, random: Random) -> None:
        self.server = server
        self.random = random
        self.stopping = False
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def live(self) -> None:
        """Ask again and again until told to stop."""
        while not self.stopping:
            habit = self.random.choices(list(HABITS), list(HABITS.values()))[0]
            prompt = f"{self.random.randint(1, 60)} {self.random.randrange(10**6)}"
            if habit == "stall":
                prompt = f"400 {WIDE_EVERY * self.random.randrange(10**5)}"
            try:
                with trio.fail_after(ANSWER_SECONDS):
                    outcome = await self._ask(habit, prompt)
            except trio.TooSlowError:
                self.wrong.append(f"{habit}: no end within {ANSWER_SECONDS:.0f} s")
            except (h11.RemoteProtocolError, AssertionError, *GONE) as error:
                self.wrong.append(f"{habit}: the answer was cut ({type(error).__name__})")
            else:
                self.counts[f"{habit} {outcome}"] += 1
                if outcome.startswith("refused"):
                    await trio.sleep(0.1)

    async def _ask(self, habit: Habit, prompt: str) -> str:
        small = 4096 if habit in ("dawdle", "stall") else None
        async with connect(self.server.port, receive_buffer=small) as consumer:
            body = chat_body(MODEL, prompt, stream=habit != "whole")
            headers = {"authorization": f"Bearer {self.random.choice(KEYS)}"}
            await consumer.request("POST", "/v1/chat/completions", body, headers)
            if habit == "vanish":
                await trio.sleep(self.random.uniform(0, 0.05))
                consumer.vanish()
                return "gone"
            head = await consumer.head()
            if habit == "whole" or head.status != 200:
                return self._whole(head, await consumer.whole(), prompt)
            return await self._stream(habit, consumer, prompt)

    async def _stream(self, habit: Habit, consumer: Consumer, prompt: str) -> str:
        events: list[str] = []
        leaves_at = self.random.randint(1, 10) if habit == "leave" else None
        if habit == "stall":
            await trio.sleep(3)
        while (event := await consumer.next_event()) is not None:
            events.append(event)
            if len(events) == leaves_at:
                if self.random.random() < 0.5:
                    await consumer.half_close()
                return "left"
            if habit == "dawdle" and len(events) % 20 == 0:
                await trio.sleep(0.1)
        return self._judge(events, prompt)

    def _judge(self, events: list[str], prompt: str) -> str:
        right = "".join(pieces_of(prompt))
        last = events[-1] if events else ""
        if last == "[DONE]":
            if text_of(events) != right:
                self.wrong.append(f"a finished stream is not the answer to {prompt!r}")
            return "complete"
        if "error" not in json.loads(last or "{}"):
            self.wrong.append(f"a stream ended without [DONE] and without an error: {last[:200]!r}")
        elif not right.startswith(text_of(events[:-1])):
            self.wrong.append(f"a broken stream is not the beginning of the answer to {prompt!r}")
        return "broken"

    def _whole(self, head: Head, body: bytes, prompt: str) -> str:
        said = json.loads(body)
        if head.status == 200:
            if said["choices"][0]["message"]["content"] != "".join(pieces_of(prompt)):
                self.wrong.append(f"a whole answer is not the answer to {prompt!r}")
            return "complete"
        if head.status not in REFUSALS or set(said) != {"error"}:
            self.wrong.append(f"status {head.status}: {body[:200]!r}")
        if head.status == 429 and int(head.headers.get("retry-after", 0)) < 2:
            self.wrong.append("a 429 without a Retry-After of at least 2")
        return f"refused {said['error'].get('reason', said['error']['code'])}"
