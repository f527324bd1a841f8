"""Scheduling without threads or arrays: a scripted backend, a hand-driven clock."""

from provider.engine import Cause, EngineLimits, Finished, FinishReason, Usage
from provider.engine.core import Cancel, Detach, Wake
from tests.testbed.byte_model import byte_model
from tests.testbed.engine_core import CoreBench, FakeReply
from tests.testbed.scripted_backend import spell


def test_answer_comes_in_pieces_with_one_end():
    bench = CoreBench(spell("Hello"))
    sink = bench.submit()
    bench.turn(7)
    assert sink.text == "Hello"
    assert sink.end == Finished(FinishReason.STOP, Usage(2, 6))
    assert [event.tokens for event in sink.events[:-1]] == [1] * 5
    assert not bench.core.has_rows
    assert bench.core.wait_seconds is None


def test_length_ends_at_max_tokens_and_counts_them():
    bench = CoreBench()
    sink = bench.submit("z", max_tokens=3)
    bench.turn(4)
    assert sink.text == "abc"
    assert sink.end == Finished(FinishReason.LENGTH, Usage(1, 3))


def test_zero_max_tokens_ends_at_once():
    bench = CoreBench()
    sink = bench.submit(max_tokens=0)
    assert sink.end == Finished(FinishReason.LENGTH, Usage(2, 0))


def test_stop_string_cuts_text_and_bills_sampled_tokens():
    bench = CoreBench()
    sink = bench.submit("z", stop=("cd",), max_tokens=20)
    bench.turn(6)
    assert sink.text == "ab"
    assert sink.end == Finished(FinishReason.STOP, Usage(1, 4), "cd")
    assert bench.backends[0].generators[0].rows == 0


def test_stop_completed_by_the_last_token_is_a_stop():
    bench = CoreBench()
    sink = bench.submit("z", stop=("cd",), max_tokens=4)
    bench.turn(5)
    assert sink.end == Finished(FinishReason.STOP, Usage(1, 4), "cd")


def test_held_text_is_flushed_on_length():
    bench = CoreBench()
    sink = bench.submit("z", stop=("cdX",), max_tokens=4)
    bench.turn(5)
    assert sink.text == "abcd"
    assert sink.end == Finished(FinishReason.LENGTH, Usage(1, 4))


def test_half_a_character_becomes_one_replacement_at_the_end():
    bench = CoreBench(spell("é"))
    sink = bench.submit(max_tokens=1)
    bench.turn(2)
    assert sink.text == "\ufffd"


def test_cancel_ends_with_the_usage_so_far_and_a_late_cancel_is_ignored():
    bench = CoreBench()
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
    bench = CoreBench()
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


def test_cancel_of_a_waiting_row():
    bench = CoreBench(limits=EngineLimits(max_concurrent=1))
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
    bench = CoreBench()
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


def test_detach_waits_for_rows_and_refuses_new_ones():
    bench = CoreBench()
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
    bench = CoreBench()
    reply = bench.attach(byte_model())
    bench.turn()
    assert isinstance(dict(bench.core.replies)[reply], ValueError)


def test_two_models_take_turns():
    bench = CoreBench()
    bench.attach(byte_model("second"))
    one = bench.submit("z", max_tokens=4)
    two = bench.submit("z", max_tokens=4, model="second")
    bench.turn(3)
    assert one.text == two.text == "ab"


def test_snapshot_change_moves_only_when_rows_or_budgets_do():
    bench = CoreBench()
    bench.submit(max_tokens=50)
    bench.turn(2)
    before = bench.core.snapshot
    bench.turn(3)
    assert bench.core.snapshot.change == before.change
    assert bench.core.snapshot.version == before.version + 3
    bench.core.apply(Cancel(1))
    bench.turn()
    assert bench.core.snapshot.change == before.change + 1
