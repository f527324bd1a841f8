"""When the engine thread wakes trio: cheap for quick steps, never late for anything that matters."""

import queue

import pytest
import trio
import trio.testing

from provider.engine import Delta, EngineLimits, Finished, GenerationRequest
from provider.engine.core import Attach, Cancel, EngineCore, SetAdmission, Stop, Submit
from provider.engine.mailbox import Mailbox
from provider.engine.posting import FRAME_SECONDS, Posting
from provider.engine.reply import Reply
from provider.engine.snapshot import EngineSnapshot
from provider.engine.thread import Pulse, run_engine
from provider.engine.window import Window
from tests.testbed.byte_model import byte_model
from tests.testbed.scripted_backend import Faults, ScriptedBackend, count_up

QUICK = FRAME_SECONDS / 4.5


class Sink:
    def __init__(self, window=1 << 20):
        self.window = Window(window)
        self.events = []

    def push(self, event):
        self.events.append(event)


class Bench:
    """A core and the decision after each turn, with hands on the clock."""

    def __init__(self):
        self.now = 100.0
        self.core = EngineCore(
            limits=EngineLimits(),
            headroom=lambda: 10**9,
            make_backend=lambda model: ScriptedBackend(model, count_up, Faults()),
            clock=lambda: self.now,
        )
        self.posting = Posting(self.core)
        self.number = 0

    async def attach(self):
        self.core.apply(Attach(byte_model(), Reply()))

    def submit(self, prompt=b"z", max_tokens=2000):
        self.number += 1
        request = GenerationRequest(model="bytes", prompt_tokens=tuple(prompt), max_tokens=max_tokens)
        self.core.apply(Submit(self.number, request, Sink()))

    def turn(self, seconds=QUICK):
        """One turn of this length; gives what was handed over, or None."""
        began = self.now
        self.core.turn()
        self.now += seconds
        if not self.posting.is_due(self.core, began, self.now):
            return None
        outbox, self.core.outbox = self.core.outbox, []
        self.core.replies.clear()
        self.posting.note(self.core, self.now)
        return [event for _sink, event in outbox]


async def decoding():
    bench = Bench()
    await bench.attach()
    bench.submit()
    bench.turn()
    first = bench.turn()
    assert [event.text for event in first] == ["a"], "the first token is handed over at once"
    return bench


async def test_quick_steps_share_a_hand_over_and_lose_nothing():
    bench = await decoding()
    handed = [bench.turn() for _ in range(400)]
    texts = "".join(event.text for batch in handed if batch for event in batch)
    assert texts == ("bcdefghijklmnopqrstuvwxyza" * 20)[: len(texts)]
    assert len(texts) > 400 - 4
    assert {len(batch) for batch in handed if batch} == {4}


@pytest.mark.parametrize("milliseconds", [0.3, 1, 4, 6.3, 8, 9, 16, 17])
async def test_steps_of_one_length_are_handed_over_within_a_frame(milliseconds):
    bench = await decoding()
    step, posted = milliseconds / 1000, bench.now
    for _ in range(100):
        handed = bench.turn(step)
        assert bench.now - posted <= max(FRAME_SECONDS, step) + 1e-9
        if handed:
            posted = bench.now


async def test_slow_step_waits_for_nobody():
    bench = await decoding()
    for _ in range(20):
        assert [type(event) for event in bench.turn(FRAME_SECONDS / 1.9)] == [Delta]


async def test_end_comes_at_once_with_everything_before_it():
    bench = Bench()
    await bench.attach()
    bench.submit(max_tokens=3)
    handed = [bench.turn(1e-6) for _ in range(4)]
    assert handed[2] is None
    assert [type(event) for event in handed[3]] == [Delta, Delta, Finished]


async def test_cancel_is_answered_at_once():
    bench = await decoding()
    assert bench.turn(1e-6) is None
    bench.core.apply(Cancel(1))
    assert isinstance(bench.turn(1e-6)[-1], Finished)


async def test_nothing_is_held_back_before_a_prompt_is_processed():
    bench = await decoding()
    assert bench.turn(1e-6) is None
    bench.submit(b"z" * 1500)
    steps = 0
    while True:
        handed = bench.turn(1e-6)
        if not bench.core._slots["bytes"].rows.prefilling_lanes:
            break
        assert handed, "a decoding row's text waits behind a prompt"
        steps += 1
    assert steps >= 1


async def test_what_was_held_back_leaves_before_a_command_is_carried_out():
    commands, held, posts = queue.SimpleQueue(), [], []
    core = EngineCore(
        limits=EngineLimits(),
        headroom=lambda: 10**9,
        make_backend=lambda model: ScriptedBackend(model, count_up, Faults()),
    )
    real_turn, real_apply = core.turn, core.apply

    def turn():
        real_turn()
        if core.outbox and core.is_steady and not held:
            held.append(len(core.outbox))
            commands.put(Submit(2, GenerationRequest(model="bytes", prompt_tokens=(122,) * 1500, max_tokens=1), Sink()))
            commands.put(Stop())

    def apply(command):
        real_apply(command)
        if held:
            posts.append("command")

    core.turn, core.apply = turn, apply
    commands.put(Attach(byte_model(), Reply()))
    commands.put(Submit(1, GenerationRequest(model="bytes", prompt_tokens=(122,), max_tokens=2000), Sink()))
    with trio.fail_after(5):
        await trio.to_thread.run_sync(
            run_engine, core, commands, lambda events, *_: held and posts.append(len(events)), Pulse()
        )
    assert posts == [held[0], "command", "command"]


async def test_change_without_events_is_handed_over():
    bench = await decoding()
    bench.turn(1e-6)
    bench.core.apply(SetAdmission(False))
    assert bench.turn(1e-6) is not None
    assert bench.turn(1e-6) is None


async def test_full_window_hands_over_before_the_thread_sleeps():
    commands, posts = queue.SimpleQueue(), []
    core = EngineCore(
        limits=EngineLimits(sweep_interval=0.01),
        headroom=lambda: 10**9,
        make_backend=lambda model: ScriptedBackend(model, count_up, Faults()),
    )
    sink = Sink(window=8)
    commands.put(Attach(byte_model(), Reply()))
    commands.put(Submit(1, GenerationRequest(model="bytes", prompt_tokens=(122,), max_tokens=100), sink))

    def post(events, _replies, snapshot):
        posts.extend(events)
        if snapshot.slots and snapshot.slots[0].paused:
            commands.put(Stop())

    with trio.fail_after(5):
        await trio.to_thread.run_sync(run_engine, core, commands, post, Pulse())
    assert "".join(event.text for _sink, event in posts) == "abcdefgh"


async def test_mail_keeps_its_order_and_wakes_once_while_nobody_looked():
    opened = []
    mailbox = Mailbox(lambda events, _replies, _snapshot: opened.append(events))

    def post_many():
        for number in range(1000):
            mailbox.post([number], [], EngineSnapshot())

    await trio.to_thread.run_sync(post_many)
    with trio.fail_after(5):
        while len(opened) < 1000:
            await trio.sleep(0.001)
    assert opened == [[number] for number in range(1000)]
    mailbox.post(["late"], [], EngineSnapshot())
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert opened[-1] == ["late"]


async def test_three_posts_are_one_wake_up():
    opened = []
    mailbox = Mailbox(lambda events, _replies, _snapshot: opened.append(events))
    for number in range(3):
        mailbox.post([number], [], EngineSnapshot())
        assert mailbox._is_woken
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert opened == [[0], [1], [2]]
    assert not mailbox._is_woken
