"""A storm over paid requests: consumers leave, machines die, the coordinator is killed, all drawn from one seed."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from random import Random
from typing import Any, Literal

import h11
import trio

from tests.testbed.consumer import Consumer, connect
from tests.testbed.coordinator import Coordinator
from tests.testbed.money_ask import PATH, PIECES, answering, priced_body
from tests.testbed.money_bank import Bank
from tests.testbed.money_people import DOLLAR, LinkedProvider, Person
from tests.testbed.sim_provider import GONE, MODEL
from tests.testbed.sim_script import Answer, FaultScript, SessionScript

CONSUMERS, MACHINES, AT_ONCE = 5, 4, 12
SHORT_PIECES = 60
LIFE_REQUESTS = (10, 50)
ANSWER_SECONDS = 30.0
SETTINGS = {
    "DARKBLOOM_SETTLE_GRACE": "1s",
    "DARKBLOOM_DRAIN_GRACE": "10s",
    "DARKBLOOM_QUEUE_MAX_WAIT": "5s",
    "DARKBLOOM_REGISTRATIONS_PER_MINUTE": "100000",
    "DARKBLOOM_RATE_LIMIT_RPS": "0",
    "DARKBLOOM_RATE_LIMIT_ITPM": "0",
    "DARKBLOOM_RATE_LIMIT_OTPM": "0",
}

Habit = Literal["stay", "leave", "vanish", "hurry"]
HABITS: dict[Habit, int] = {"stay": 60, "leave": 15, "vanish": 15, "hurry": 10}
PROMPTS = {"paced": 80, "break": 8, "fail": 4, "ask": 8}

Start = Callable[[int], AbstractAsyncContextManager[Coordinator]]
"""Starts the coordinator on a port; 0 for a free one."""


def short(body: Mapping[str, Any]) -> tuple[Answer, FaultScript]:
    """Answer as everywhere, but with fewer pieces: the simulated machines share this process."""
    answer, script = answering(body)
    return replace(answer, pieces=answer.pieces[:SHORT_PIECES]), replace(script, gap_seconds=0.01)


class Storm:
    """One run. `answered` holds the jobs whose answer a consumer saw to its proper end."""

    def __init__(self, bank: Bank, seed: int) -> None:
        self.bank = bank
        self.random = Random(seed)
        self.counts: Counter[str] = Counter()
        self.answered: set[str] = set()
        self.problems: list[str] = []
        self._consumers: list[Person] = []
        self._owners: list[Person] = []
        self._port = 0
        self._up = trio.Event()

    async def run(self, start: Start, *, streams: int, kills: int) -> None:
        """Send so many requests while the coordinator is killed so many times; then stop it, and look at the books."""
        await self._open_accounts()
        async with trio.open_nursery() as crowd:
            due = [streams * (number + 1) // (kills + 1) for number in range(kills)]
            slots = trio.Semaphore(AT_ONCE)
            for number in range(kills + 1):
                async with start(self._port) as server, trio.open_nursery() as fleet:
                    self._port = server.port
                    for index in range(MACHINES):
                        fleet.start_soon(self._keep, index, server.link_url)
                    await server.routable(MODEL)
                    self._up.set()
                    if number == 0:
                        crowd.start_soon(self._ask_all, streams, slots)
                    if number < kills:
                        await self._over(due[number])
                        await trio.sleep(self.random.uniform(0.1, 0.6))
                        self._up = trio.Event()
                        server.process.signal(signal.SIGKILL)
                        await server.process.wait()
                    else:
                        await self._over(streams)
                        server.process.signal(signal.SIGTERM)
                        if (code := await server.process.wait()) != 0:
                            self.problems.append(f"the coordinator ended with {code}")
                    fleet.cancel_scope.cancel()
        await self._look()

    async def _open_accounts(self) -> None:
        async with self.bank.people() as people:
            self._consumers = [await people.join(f"storm-{n}", credit=DOLLAR) for n in range(CONSUMERS)]
            self._owners = [await people.join(f"storm-owner-{n}") for n in range(MACHINES)]

    async def _keep(self, index: int, url: str) -> None:
        """Keep a machine of an owner connected, and kill its connection at random.

        It lives for a number of requests, not of seconds: on a busy computer no answer would come to its end.
        """
        while True:
            # A new device each time: the strikes of the old one would keep it out for minutes.
            machine = LinkedProvider(
                answering=short, script=SessionScript(heartbeat_seconds=0.5), decode_tps=1000.0
            ).owned_by(self._owners[index])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(machine.stay, url)
                while machine.wire is None:
                    await trio.sleep(0.02)
                await self._over(self._ended + self.random.randrange(*LIFE_REQUESTS))
                machine.wire.reset()
                self.counts["machine killed"] += 1
                nursery.cancel_scope.cancel()

    async def _ask_all(self, streams: int, slots: trio.Semaphore) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(streams):
                await slots.acquire()
                await self._up.wait()
                nursery.start_soon(self._one, slots)

    @property
    def _ended(self) -> int:
        return sum(count for name, count in self.counts.items() if name.startswith("consumer"))

    async def _over(self, requests: int) -> None:
        """Wait until so many requests have ended."""
        while self._ended < requests:
            await trio.sleep(0.02)

    async def _one(self, slots: trio.Semaphore) -> None:
        habit = self.random.choices(list(HABITS), list(HABITS.values()))[0]
        prompt = self.random.choices(list(PROMPTS), list(PROMPTS.values()))[0]
        person, reads = self.random.choice(self._consumers), self.random.randrange(1, SHORT_PIECES // 2)
        outcome = "cut"
        try:
            with trio.move_on_after(ANSWER_SECONDS) as limit:
                async with connect(self._port) as consumer:
                    outcome = await self._ask(consumer, person, habit, prompt, reads)
            if limit.cancelled_caught:
                self.problems.append(f"a request of habit {habit!r} had no end within {ANSWER_SECONDS:.0f} s")
        except (h11.RemoteProtocolError, AssertionError, *GONE):
            await trio.sleep(0.2)  # the coordinator is away
        finally:
            slots.release()
        self.counts[f"consumer {habit}: {outcome}"] += 1

    async def _ask(self, consumer: Consumer, person: Person, habit: Habit, prompt: str, reads: int) -> str:
        body = priced_body(prompt, max_tokens=PIECES)
        await consumer.request("POST", PATH, body, {"authorization": f"Bearer {person.key}"})
        if habit == "hurry":
            await trio.sleep(reads / 100)
            consumer.vanish()
            return "gone"
        head = await consumer.head()
        if head.status != 200:
            return f"refused {head.status}"
        events = 0
        last = ""
        while (event := await consumer.next_event()) is not None:
            events, last = events + 1, event
            if habit != "stay" and events >= reads:
                if habit == "leave":
                    await consumer.half_close()
                else:
                    consumer.vanish()
                return "gone"
        if last != "[DONE]":
            return "broken"
        self.answered.add(head.headers["x-inference-job-id"])
        return "complete"

    async def _look(self) -> None:
        async with self.bank.people() as people:
            before = {str(row["job_id"]) for row in await people.rows("SELECT job_id FROM usage")}
        self.problems += await self.bank.after_grace()
        async with self.bank.people() as people:
            rows = await people.rows("SELECT job_id, cost_micro_usd AS cost FROM usage")
            spent = CONSUMERS * DOLLAR - sum([(await people.balance(one)).balance for one in self._consumers])
            earned = sum([(await people.balance(one)).balance for one in self._owners])
        if spent != sum(int(row["cost"] or 0) for row in rows):
            self.problems.append(f"the consumers spent {spent}, which is not what their usage costs")
        if spent != earned:
            self.problems.append(f"the consumers spent {spent}, the machines earned {earned}")
        if {str(row["job_id"]) for row in rows} != before:
            self.problems.append("something was charged after the coordinator had stopped")
        if missing := self.answered - before:
            self.problems.append(f"{len(missing)} whole answers were never charged")
