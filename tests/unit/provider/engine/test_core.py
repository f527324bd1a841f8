"""Scheduling without threads or arrays: a scripted backend, a hand-driven clock."""

import pytest

from provider.engine import Cause, Delta, EngineLimits, Finished, FinishReason, GenerationRequest, SlotState, Usage
from provider.engine.core import Attach, Cancel, Detach, EngineCore, LimitRows, SetAdmission, Submit, Wake
from provider.engine.window import Window
from tests.testbed.byte_model import byte_model
from tests.testbed.scripted_backend import Faults, ScriptedBackend, count_up, spell


class Sink:
    def __init__(self, size=256):
        self.window = Window(size)
        self.events = []

    def push(self, event):
        self.events.append(event)

    @property
    def text(self):
        return "".join(event.text for event in self.events if isinstance(event, Delta))

    @property
    def end(self):
        finished = [event for event in self.events if isinstance(event, Finished)]
        assert len(finished) <= 1
        assert not finished or self.events[-1] is finished[0]
        return finished[0] if finished else None

    @property
    def cause(self):
        return self.end.failure.cause


class FakeReply:
    def __init__(self):
        self.outcomes = []


class Bench:
    """A core with hands on its clock, memory and script."""

    def __init__(self, script=count_up, *, headroom=10**9, limits=None, model=None):
        self.now = 1000.0
        self.free = headroom
        self.faults = Faults()
        self.backends = []
        self.script = script
        self.core = EngineCore(
            limits=limits or EngineLimits(),
            headroom=lambda: self.free,
            make_backend=self.make_backend,
            clock=lambda: self.now,
        )
        self.number = 0
        self.attach(model or byte_model())

    def make_backend(self, model):
        self.backends.append(ScriptedBackend(model, self.script, self.faults))
        return self.backends[-1]

    def attach(self, model):
        reply = FakeReply()
        self.core.apply(Attach(model, reply))
        return reply

    def submit(self, prompt="hi", *, window=256, model="bytes", **fields):
        sink = Sink(window)
        self.number += 1
        tokens = tuple(prompt.encode()) if isinstance(prompt, str) else prompt
        self.core.apply(Submit(self.number, GenerationRequest(model=model, prompt_tokens=tokens, **fields), sink))
        self.flush()
        return sink

    def turn(self, times=1):
        for _ in range(times):
            self.core.turn()
            self.flush()

    def flush(self):
        for sink, event in self.core.outbox:
            sink.push(event)
        self.core.outbox.clear()

    @property
    def slot(self):
        return self.core.snapshot.slots[0]


def test_answer_comes_in_pieces_with_one_end():
    bench = Bench(spell("Hello"))
    sink = bench.submit()
    bench.turn(7)
    assert sink.text == "Hello"
    assert sink.end == Finished(FinishReason.STOP, Usage(2, 6))
    assert [event.tokens for event in sink.events[:-1]] == [1] * 5
    assert not bench.core.has_rows
    assert bench.core.wait_seconds is None


def test_length_ends_at_max_tokens_and_counts_them():
    bench = Bench()
    sink = bench.submit("z", max_tokens=3)
    bench.turn(4)
    assert sink.text == "abc"
    assert sink.end == Finished(FinishReason.LENGTH, Usage(1, 3))


def test_zero_max_tokens_ends_at_once():
    bench = Bench()
    sink = bench.submit(max_tokens=0)
    assert sink.end == Finished(FinishReason.LENGTH, Usage(2, 0))


def test_stop_string_cuts_text_and_bills_sampled_tokens():
    bench = Bench()
    sink = bench.submit("z", stop=("cd",), max_tokens=20)
    bench.turn(6)
    assert sink.text == "ab"
    assert sink.end == Finished(FinishReason.STOP, Usage(1, 4), "cd")
    assert bench.backends[0].generators[0].rows == 0


def test_stop_completed_by_the_last_token_is_a_stop():
    bench = Bench()
    sink = bench.submit("z", stop=("cd",), max_tokens=4)
    bench.turn(5)
    assert sink.end == Finished(FinishReason.STOP, Usage(1, 4), "cd")


def test_held_text_is_flushed_on_length():
    bench = Bench()
    sink = bench.submit("z", stop=("cdX",), max_tokens=4)
    bench.turn(5)
    assert sink.text == "abcd"
    assert sink.end == Finished(FinishReason.LENGTH, Usage(1, 4))


def test_half_a_character_becomes_one_replacement_at_the_end():
    bench = Bench(spell("é"))
    sink = bench.submit(max_tokens=1)
    bench.turn(2)
    assert sink.text == "\ufffd"


def test_unknown_model_is_unavailable():
    bench = Bench()
    assert bench.submit(model="other").cause is Cause.MODEL_UNAVAILABLE


@pytest.mark.parametrize("tokens", [(), (1, 258), (-1, 1)])
def test_prompt_without_or_with_unknown_tokens_is_invalid(tokens):
    assert Bench().submit(tokens).cause is Cause.INVALID_REQUEST


def test_prompt_that_fills_the_context_is_refused_with_both_numbers():
    bench = Bench(model=byte_model(context_tokens=16))
    sink = bench.submit("x" * 16)
    assert sink.cause is Cause.REQUEST_EXCEEDS_CONTEXT
    assert sink.end.failure.text == ("The prompt has 16 tokens, the model's limit is 16; shorten the prompt.")


def test_max_tokens_is_clamped_to_the_context():
    bench = Bench(model=byte_model(context_tokens=16))
    sink = bench.submit("x" * 10, max_tokens=4096)
    bench.turn(8)
    assert sink.end == Finished(FinishReason.LENGTH, Usage(10, 6))


def test_rows_beyond_the_cap_wait_in_arrival_order():
    bench = Bench(limits=EngineLimits(max_concurrent=2))
    sinks = [bench.submit("z", max_tokens=2) for _ in range(3)]
    bench.turn(2)
    assert (bench.slot.running, bench.slot.waiting) == (2, 1)
    bench.turn(4)
    assert [sink.text for sink in sinks] == ["ab"] * 3


def test_full_queue_refuses():
    bench = Bench(limits=EngineLimits(max_concurrent=1, max_waiting=1))
    bench.submit(max_tokens=5)
    bench.turn()
    bench.submit(max_tokens=5)
    assert bench.submit(max_tokens=5).cause is Cause.QUEUE_FULL


def test_request_larger_than_the_machine_names_the_maximum():
    bench = Bench(headroom=100 * 512)
    sink = bench.submit(max_tokens=600)
    assert sink.cause is Cause.REQUEST_EXCEEDS_NODE_BUDGET
    assert sink.end.failure.available_tokens == 512


def test_request_that_fits_later_is_token_budget_exhausted():
    bench = Bench(headroom=100 * 1024)
    bench.submit(max_tokens=500)
    bench.turn()
    sink = bench.submit(max_tokens=600)
    assert sink.cause is Cause.TOKEN_BUDGET_EXHAUSTED
    assert sink.end.failure.available_tokens == 512


def test_budget_figures_are_charged_tokens_and_return_to_zero():
    bench = Bench(headroom=100 * 4096)
    first = bench.submit(max_tokens=500)
    second = bench.submit(max_tokens=10)
    bench.turn()
    assert bench.slot.budget_used == 1024
    assert bench.slot.budget_max == 4096
    for number in (1, 2):
        bench.core.apply(Cancel(number))
    bench.turn()
    assert bench.slot.budget_used == 0
    assert first.end.reason is second.end.reason is FinishReason.CANCELLED


def test_waiting_rows_are_in_the_queued_figure():
    bench = Bench(limits=EngineLimits(max_concurrent=1))
    bench.submit(max_tokens=5)
    bench.submit(max_tokens=300)
    bench.turn()
    assert (bench.slot.budget_used, bench.slot.queued_budget) == (256, 512)


def test_small_row_overtakes_a_large_one_until_that_has_aged():
    bench = Bench()
    large = bench.submit(max_tokens=900)
    small = bench.submit(max_tokens=5)
    bench.free = 100 * 600
    bench.turn(2)
    assert small.text
    assert large.text == ""
    bench.now += 6
    bench.free = 10**9
    late = bench.submit(max_tokens=5)
    bench.free = 100 * 600
    bench.turn(2)
    assert late.text == ""
    bench.free = 10**9
    bench.turn(2)
    assert late.text
    assert large.text


def test_only_one_long_prefill_at_a_time():
    bench = Bench(model=byte_model(context_tokens=100_000))
    bench.submit("x" * 3000, max_tokens=5)
    bench.submit("x" * 3000, max_tokens=5)
    bench.turn()
    assert (bench.slot.running, bench.slot.waiting) == (1, 1)
    bench.turn(8)
    assert bench.slot.waiting == 0


def test_mixed_lengths_use_separate_generators():
    bench = Bench(model=byte_model(context_tokens=100_000))
    bench.submit(max_tokens=50)
    bench.submit(max_tokens=50_000)
    bench.turn()
    assert len(bench.backends[0].generators) == 2
    assert bench.slot.budget_used == 256 + 50_176


def test_cancel_ends_with_the_usage_so_far_and_a_late_cancel_is_ignored():
    bench = Bench()
    sink = bench.submit("z", max_tokens=50)
    bench.turn(4)
    bench.core.apply(Cancel(1))
    bench.flush()
    assert sink.end == Finished(FinishReason.CANCELLED, Usage(1, 3))
    other = bench.submit("z", max_tokens=2)
    bench.core.apply(Cancel(1))
    bench.turn(3)
    assert other.end.reason is FinishReason.LENGTH


def test_cancel_ten_tokens_into_two_thousand_ends_within_the_step():
    bench = Bench()
    sink = bench.submit("z", max_tokens=2000)
    while len(sink.events) < 10:
        bench.turn()
    bench.core.apply(Cancel(1))
    bench.flush()
    assert sink.end.reason is FinishReason.CANCELLED
    assert 10 <= sink.end.usage.completion_tokens <= 12
    bench.turn()
    assert bench.slot.budget_used == 0
    assert bench.backends[0].generators[0].rows == 0


@pytest.mark.parametrize("moment", ["cancel", "stop string", "timeout", "broken numbers"])
def test_fault_while_a_row_is_removed_ends_every_row_once(moment):
    bench = Bench(limits=EngineLimits(decode_timeout=50.0))
    stop = ("c",) if moment == "stop string" else ()
    first, second = bench.submit("z", max_tokens=50, stop=stop), bench.submit("m", max_tokens=50)
    bench.turn(2)
    bench.faults.raise_in = {"remove"}
    match moment:
        case "cancel":
            bench.core.apply(Cancel(1))
            bench.flush()
        case "timeout":
            bench.now += 200
            bench.core.turn()
            bench.flush()
        case "broken numbers":
            bench.faults.broken = True
            bench.turn(20)
        case "stop string":
            bench.turn(4)
    bench.faults.raise_in, bench.faults.broken = set(), False
    bench.turn(3)
    assert first.end is not None
    assert second.end is not None
    if moment == "stop string":
        assert (first.end.reason, first.end.stop_sequence) == (FinishReason.STOP, "c")
    assert bench.slot.running == bench.slot.budget_used == 0
    third = bench.submit("z", max_tokens=2)
    bench.turn(4)
    assert third.end.reason is FinishReason.LENGTH


def test_cancel_of_a_waiting_row():
    bench = Bench(limits=EngineLimits(max_concurrent=1))
    bench.submit(max_tokens=50)
    sink = bench.submit(max_tokens=50)
    bench.turn()
    bench.core.apply(Cancel(2))
    bench.flush()
    assert sink.end == Finished(FinishReason.CANCELLED, Usage(2, 0))
    assert bench.core.snapshot.slots[0].waiting == 1
    bench.turn()
    assert bench.slot.waiting == 0


def test_unread_row_pauses_and_continues_where_it_was():
    bench = Bench()
    slow = bench.submit("z", max_tokens=20, window=4)
    other = bench.submit("z", max_tokens=20)
    bench.turn(12)
    assert slow.text == "abcd"
    assert bench.slot.paused == 1
    assert len(other.text) > 8
    slow.window.consumed = 2
    bench.core.apply(Wake())
    bench.turn(2)
    assert slow.text == "abcde"
    for _ in range(20):
        slow.window.consumed = slow.window.posted
        bench.turn()
    assert slow.text == "abcdefghijklmnopqrst"
    assert slow.end == Finished(FinishReason.LENGTH, Usage(1, 20))


def test_paused_row_ends_after_the_backpressure_timeout():
    bench = Bench()
    slow = bench.submit("z", max_tokens=20, window=4)
    bench.turn(6)
    assert bench.core.wait_seconds == 1.0
    bench.now += 119
    bench.turn()
    assert slow.end is None
    bench.now += 1
    bench.turn()
    assert slow.cause is Cause.BACKPRESSURE_TIMEOUT
    assert bench.slot.budget_used == 0


def test_waiting_row_ends_when_its_deadline_passes():
    bench = Bench(limits=EngineLimits(max_concurrent=1))
    bench.submit(max_tokens=500)
    sink = bench.submit(max_tokens=5, deadline=1010.0)
    bench.turn()
    bench.now = 1010.5
    bench.turn()
    assert sink.cause is Cause.DEADLINE_UNREACHABLE


def test_row_whose_deadline_passed_is_not_started():
    bench = Bench()
    sink = bench.submit(deadline=999.0)
    bench.turn()
    assert sink.cause is Cause.DEADLINE_UNREACHABLE


def test_waiting_row_ends_after_the_admission_timeout():
    bench = Bench(limits=EngineLimits(max_concurrent=1, decode_timeout=1e9, safety_grace=1e9))
    bench.submit(max_tokens=500)
    sink = bench.submit(max_tokens=5)
    bench.turn()
    bench.now += 120
    bench.turn()
    assert sink.cause is Cause.ADMISSION_TIMEOUT


def test_prefill_that_gives_no_token_stalls():
    bench = Bench(model=byte_model(context_tokens=100_000))
    sink = bench.submit("x" * 50_000, max_tokens=5)
    bench.turn()
    bench.now += 120
    bench.turn()
    assert sink.cause is Cause.PREFILL_STALL


def test_row_without_tokens_for_two_minutes_stalls():
    bench = Bench(model=byte_model(context_tokens=100_000))
    sink = bench.submit(max_tokens=500)
    bench.turn(3)
    row = bench.core._live[1][1]
    bench.now += 2
    row.last_token_at = bench.now - 120
    bench.core._slots["bytes"].sweep(bench.core.outbox)
    bench.flush()
    assert sink.cause is Cause.DECODE_STALL


def test_row_that_runs_too_long_meets_the_safety_deadline():
    bench = Bench()
    sink = bench.submit("z", max_tokens=50)
    for _ in range(18):
        bench.turn()
        bench.now += 10
    assert sink.end.failure.cause is Cause.SAFETY_DEADLINE
    assert sink.end.usage.completion_tokens > 5


def test_fault_ends_the_rows_of_its_generator_and_the_next_request_works():
    bench = Bench(model=byte_model(context_tokens=100_000))
    short = bench.submit("z", max_tokens=50)
    long = bench.submit("z", max_tokens=50_000)
    bench.turn(3)
    bench.faults.raise_next.append(RuntimeError("prompt text must not leak"))
    bench.turn()
    assert short.cause is Cause.ENGINE_ERROR
    assert "prompt text" not in short.end.failure.text
    assert long.end is None
    assert bench.backends[0].cleared == 1
    again = bench.submit("z", max_tokens=2)
    bench.turn(3)
    assert again.text == "ab"


def test_three_faults_crash_the_slot_and_end_the_waiting_rows():
    bench = Bench(limits=EngineLimits(max_concurrent=1))
    for _ in range(3):
        bench.submit(max_tokens=50)
        bench.turn()
        waiting = bench.submit(max_tokens=5)
        bench.faults.raise_next.append(RuntimeError("x"))
        bench.turn()
        if bench.slot.state is not SlotState.CRASHED:
            bench.core.apply(Cancel(bench.number))
            bench.flush()
    assert bench.slot.state is SlotState.CRASHED
    assert waiting.cause is Cause.ENGINE_ERROR
    assert bench.submit().cause is Cause.MODEL_UNAVAILABLE


def test_allocator_fault_halves_the_rows():
    bench = Bench()
    bench.submit(max_tokens=50)
    bench.turn()
    bench.faults.raise_next.append(RuntimeError("[malloc] Unable to allocate 1 bytes."))
    bench.turn()
    assert bench.slot.max_concurrency == 4


def test_model_that_cannot_be_batched_runs_one_row():
    bench = Bench(model=byte_model(batchable=False))
    bench.submit(max_tokens=5)
    bench.submit(max_tokens=5)
    bench.turn()
    assert (bench.slot.running, bench.slot.waiting, bench.slot.max_concurrency) == (1, 1, 1)


def test_broken_numbers_end_the_row_only():
    bench = Bench()
    bench.faults.broken = True
    sink = bench.submit("z", max_tokens=50)
    bench.turn(2)
    bench.faults.broken = False
    assert sink.cause is Cause.GENERATION_FAILURE
    other = bench.submit("z", max_tokens=2)
    bench.turn(3)
    assert other.text == "ab"


def test_closed_admission_refuses_all_but_the_self_test():
    bench = Bench()
    bench.core.apply(SetAdmission(False))
    assert bench.submit().cause is Cause.CAPACITY_BUSY
    warm = bench.submit("z", max_tokens=1, warm_up=True)
    bench.turn(2)
    assert warm.text == "a"


def test_detach_waits_for_rows_and_refuses_new_ones():
    bench = Bench()
    sink = bench.submit("z", max_tokens=3)
    bench.turn()
    reply = FakeReply()
    bench.core.apply(Detach("bytes", reply))
    assert bench.submit().cause is Cause.MODEL_UNAVAILABLE
    bench.turn()
    assert (reply, None) not in bench.core.replies
    bench.turn(3)
    assert sink.end.reason is FinishReason.LENGTH
    assert (reply, None) in bench.core.replies
    assert bench.core.snapshot.slots == ()
    assert all(generator.closed for generator in bench.backends[0].generators)


def test_second_attach_of_a_model_is_an_error():
    bench = Bench()
    reply = bench.attach(byte_model())
    bench.turn()
    assert isinstance(dict(bench.core.replies)[reply], ValueError)


def test_two_models_take_turns():
    bench = Bench()
    bench.attach(byte_model("second"))
    one = bench.submit("z", max_tokens=4)
    two = bench.submit("z", max_tokens=4, model="second")
    bench.turn(3)
    assert one.text == two.text == "ab"


def test_snapshot_change_moves_only_when_rows_or_budgets_do():
    bench = Bench()
    bench.submit(max_tokens=50)
    bench.turn(2)
    before = bench.core.snapshot
    bench.turn(3)
    assert bench.core.snapshot.change == before.change
    assert bench.core.snapshot.version == before.version + 3
    bench.core.apply(Cancel(1))
    bench.turn()
    assert bench.core.snapshot.change == before.change + 1


def test_measured_speeds_appear_after_a_request():
    bench = Bench()
    assert bench.core.snapshot.slots == ()
    bench.submit("z" * 64, max_tokens=4)
    for _ in range(6):
        bench.turn()
        bench.now += 0.5
    assert bench.slot.decode_tps == pytest.approx(2.0)
    assert bench.slot.prefill_tps == pytest.approx(128.0)
    assert (bench.slot.admits, bench.slot.first_tokens_emitted) == (1, 1)


def test_a_tiny_prompt_says_nothing_about_the_speed_of_prompts():
    bench = Bench()
    bench.submit("z", max_tokens=2)
    for _ in range(4):
        bench.turn()
        bench.now += 5.0
    assert bench.slot.prefill_tps is None
    assert bench.submit("z" * 40, max_tokens=2, deadline=bench.now + 1.0).end is None


def test_a_speed_that_refuses_everything_is_measured_again_after_a_minute():
    bench = Bench()
    bench.submit("z" * 40, max_tokens=1)
    for _ in range(3):
        bench.turn()
        bench.now += 20.0

    def ask():
        sink = bench.submit("z" * 40, max_tokens=1, deadline=bench.now + 1.0)
        bench.turn(3)
        return sink.end

    assert ask().failure.cause is Cause.DEADLINE_UNREACHABLE
    bench.now += 60.0
    assert ask().reason is FinishReason.LENGTH


def test_row_that_cannot_be_inserted_ends_alone():
    bench = Bench()
    other = bench.submit("z", max_tokens=4)
    bench.turn()
    bench.faults.raise_in.add("insert")
    sink = bench.submit("z", max_tokens=4)
    bench.turn()
    assert sink.cause is Cause.ENGINE_ERROR
    bench.turn(3)
    assert other.text == "abcd"


@pytest.mark.parametrize("moment", ["pause", "insert"])
def test_fault_while_pausing_or_resuming_ends_every_row_once(moment):
    bench = Bench()
    slow = bench.submit("z", max_tokens=50, window=4)
    other = bench.submit("z", max_tokens=50)
    if moment == "pause":
        bench.faults.raise_in.add(moment)
    bench.turn(8)
    if moment == "insert":
        assert bench.slot.paused == 1
        bench.faults.raise_in.add(moment)
        slow.window.consumed = 4
        bench.turn()
    bench.faults.raise_in.clear()
    assert slow.cause is other.cause is Cause.ENGINE_ERROR
    assert bench.slot.budget_used == 0
    again = bench.submit("z", max_tokens=2)
    bench.turn(3)
    assert again.text == "ab"


def explode(*_arguments, **_named):
    raise ValueError("CANARY")


def test_fault_over_one_rows_text_ends_that_row_alone(monkeypatch):
    bench = Bench()
    first, second = bench.submit("z"), bench.submit("z", max_tokens=4)
    bench.turn(2)
    (row,) = [row for _, row in bench.core._live.values() if row.sink is first]
    whole = type(row).take

    def take(self, *rest):
        return explode() if self is row else whole(self, *rest)

    monkeypatch.setattr(type(row), "take", take)
    bench.turn(4)
    assert first.cause is Cause.ENGINE_ERROR
    assert second.text == "abcd"
    assert second.end.reason is FinishReason.LENGTH
    assert bench.backends[0].generators[0].rows == 0
    assert bench.slot.state is SlotState.IDLE


def test_terminal_event_comes_even_if_the_held_text_cannot_be_flushed(monkeypatch, caplog):
    bench = Bench(spell("Hello"))
    sink = bench.submit()
    bench.turn(3)
    (row,) = [row for _, row in bench.core._live.values()]
    monkeypatch.setattr(type(row), "finish", explode)
    bench.turn(5)
    assert sink.cause is Cause.ENGINE_ERROR
    assert sink.end.usage == Usage(2, 6)
    assert not bench.core._live
    assert "CANARY" not in caplog.text


def test_closing_and_opening_admission_is_published_at_once_with_fresh_figures():
    bench = Bench()
    bench.turn()
    before = bench.core.snapshot
    bench.free = 0
    bench.core.apply(SetAdmission(False))
    bench.turn()
    assert bench.core.snapshot.change == before.change + 1
    assert bench.slot.budget_max == bench.slot.budget_used == 0


def test_hot_machine_runs_half_of_the_rows_and_the_running_ones_go_on():
    bench = Bench(limits=EngineLimits(max_concurrent=4))
    running = [bench.submit(max_tokens=50) for _ in range(3)]
    bench.turn(3)
    change = bench.core.snapshot.change
    bench.core.apply(LimitRows(0.5))
    more = [bench.submit(max_tokens=5) for _ in range(2)]
    bench.turn(3)
    assert bench.core.snapshot.change > change
    (slot,) = bench.core.snapshot.slots
    assert (slot.max_concurrency, slot.running, slot.waiting) == (2, 3, 2)
    bench.turn(60)
    assert all(sink.end.reason is FinishReason.LENGTH for sink in [*running, *more])
    bench.core.apply(LimitRows(0.1))
    bench.turn()
    assert bench.core.snapshot.slots[0].max_concurrency == 1
    bench.core.apply(LimitRows(1.0))
    bench.turn()
    assert bench.core.snapshot.slots[0].max_concurrency == 4
