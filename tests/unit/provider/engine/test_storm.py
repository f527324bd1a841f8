"""The whole engine on the demo model under random arrivals, cancels, slow readers and disconnects.

Each request gets exactly one terminal, its text is what the model says alone, and nothing stays behind.
"""

import random

import pytest
import trio

from provider.demo import DEMO_MODEL_ID, demo_model_path
from provider.engine import Delta, EngineFront, EngineLimits, Finished, FinishReason, GenerationRequest
from tests.conftest import FULL
from tests.testbed.needs import module

module("mlx.core")

REQUESTS = 2_400 if FULL else 100
CAP = 6
ROOM_TOKENS = 6_000
"""Tokens of cache that the machine has; less than what all rows would like."""

ACCEPTED = (FinishReason.STOP, FinishReason.LENGTH)


@pytest.fixture(scope="module")
def demo():
    from provider.models.load import load_model

    return load_model(DEMO_MODEL_ID, demo_model_path())


class Storm:
    def __init__(self, engine, model, dice):
        self.engine, self.model, self.dice = engine, model, dice
        self.ends = {}
        self.texts = {}
        self.wanted = {}
        self.over_cap = []
        self.done = trio.Event()

    def request(self):
        dice = self.dice
        prompt = tuple(dice.randrange(1, 400) for _ in range(dice.choice((1, 3, 20, 90, 400))))
        if dice.random() < 0.5 and self.wanted:  # a beginning that was seen before
            prompt = dice.choice(list(self.wanted.values())).prompt_tokens + prompt[:20]
        return GenerationRequest(
            model=DEMO_MODEL_ID,
            prompt_tokens=prompt[:1500],
            max_tokens=dice.choice((1, 2, 8, 30, 120)),
            cache_scope=dice.choice(("", "a", "b")),
        )

    async def one(self, number):
        dice, request = self.dice, self.request()
        self.wanted[number] = request
        generation = self.engine.submit(request)
        ends, text = [], []
        quits_after = dice.randrange(20) if dice.random() < 0.15 else None
        cancels_after = dice.choice((0, 1, 3, 8)) if dice.random() < 0.25 else None
        naps = dice.choice((0, 0, 0, 0.001, 0.02))
        async with generation:
            if cancels_after == 0:
                generation.cancel()
            seen = 0
            async for event in generation:
                seen += 1
                if isinstance(event, Finished):
                    ends.append(event)
                elif isinstance(event, Delta):
                    text.append(event.text)
                if seen == cancels_after:
                    generation.cancel()
                if seen == quits_after:
                    break
                if naps:
                    await trio.sleep(naps)
        self.ends[number] = ends if generation.finished is None or ends else None
        self.texts[number] = "".join(text)

    async def watch(self):
        """Every published view keeps to the cap and to the memory."""
        snapshot = self.engine.snapshot()
        while not self.done.is_set():
            for slot in snapshot.slots:
                if slot.running > slot.max_concurrency or slot.max_concurrency > CAP:
                    self.over_cap.append((slot.running, slot.max_concurrency))
                if slot.budget_used > ROOM_TOKENS or slot.budget_max > ROOM_TOKENS:
                    self.over_cap.append((slot.budget_used, slot.budget_max))
            with trio.move_on_after(0.05):
                snapshot = await self.engine.wait_change(snapshot.change)


async def solo(engine, request):
    alone = GenerationRequest(model=request.model, prompt_tokens=request.prompt_tokens, max_tokens=request.max_tokens)
    events = [event async for event in engine.submit(alone)]
    return "".join(event.text for event in events[:-1]), events[-1]


async def settled(engine):
    with trio.fail_after(30):
        snapshot = engine.snapshot()
        while any(slot.running or slot.waiting or slot.budget_used for slot in snapshot.slots):
            snapshot = await engine.wait_change(snapshot.change)
    return snapshot


async def test_every_request_of_a_storm_ends_once_with_its_own_text(demo):
    seed = random.randrange(1 << 30) if FULL else 20261121
    dice = random.Random(seed)
    held = demo.kv_bytes_per_token
    limits = EngineLimits(max_concurrent=CAP, window_events=6, max_waiting=64)

    def headroom():
        core = front._core
        used = sum(slot.rows.charged_bytes - slot.rows.unused_bytes() for slot in core._slots.values())
        return ROOM_TOKENS * held - used - core._prefixes.bytes

    with trio.fail_after(1800 if FULL else 120):
        async with EngineFront.open(headroom=headroom, limits=limits, on_fatal=pytest.fail) as front:
            await front.attach_model(demo)
            storm = Storm(front, demo, dice)
            gate = trio.CapacityLimiter(40)
            async with trio.open_nursery() as outer:
                outer.start_soon(storm.watch)
                async with trio.open_nursery() as nursery:
                    for number in range(REQUESTS):
                        await gate.acquire_on_behalf_of(number)

                        async def run(number=number):
                            try:
                                await storm.one(number)
                            finally:
                                gate.release_on_behalf_of(number)

                        nursery.start_soon(run)
                        if dice.random() < 0.3:
                            await trio.sleep(dice.choice((0, 0.002, 0.01)))
                storm.done.set()
            snapshot = await settled(front)
            slot = snapshot.slots[0]
            assert (slot.running, slot.waiting, slot.paused, slot.budget_used, slot.queued_budget) == (0, 0, 0, 0, 0)
            assert not front._live
            assert not storm.over_cap, f"seed {seed}"
            outcomes = {}
            for number, ends in storm.ends.items():
                if ends is None or not ends:
                    continue  # its reader left before the end
                assert len(ends) == 1, f"seed {seed}, request {number}"
                outcomes[number] = ends[0]
            kinds = {end.reason for end in outcomes.values()}
            if FULL:  # a short storm on a busy machine may do without some of it
                assert {*ACCEPTED, FinishReason.CANCELLED} <= kinds
                assert any(end.usage.cached_tokens for end in outcomes.values())
            for number, end in outcomes.items():
                if end.reason in ACCEPTED:
                    text, alone = await solo(front, storm.wanted[number])
                    assert (storm.texts[number], end.usage.completion_tokens) == (text, alone.usage.completion_tokens)
                elif end.reason is FinishReason.CANCELLED:
                    text, _ = await solo(front, storm.wanted[number])
                    assert text.startswith(storm.texts[number])
                if storm.wanted[number].cache_scope == "":
                    assert end.usage.cached_tokens == 0
            await settled(front)
