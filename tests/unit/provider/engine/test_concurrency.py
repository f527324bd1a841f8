"""The learned number of rows."""

from provider.engine.concurrency import RAISE_AFTER_SECONDS, AdaptiveCap


def teach(cap, rows, tokens_per_second, now=0.0, steps=10):
    for _ in range(steps):
        cap.note(rows, rows / tokens_per_second, now)


def test_a_row_that_brings_nothing_is_not_repeated():
    cap = AdaptiveCap(4)
    teach(cap, 1, 12)
    teach(cap, 2, 12.2)
    assert cap.rows(0.0) == 1


def test_a_row_that_pays_is_kept():
    cap = AdaptiveCap(4)
    teach(cap, 1, 12)
    teach(cap, 2, 12.6)
    assert cap.rows(0.0) == 4


def test_rows_that_are_fast_anyway_are_kept():
    cap = AdaptiveCap(4)
    teach(cap, 1, 40)
    teach(cap, 2, 40)
    assert cap.rows(0.0) == 4


def test_a_few_steps_prove_nothing():
    cap = AdaptiveCap(4)
    teach(cap, 1, 12)
    teach(cap, 2, 6, steps=7)
    assert cap.rows(0.0) == 4


def test_a_lowered_cap_rises_again_by_one_each_minute():
    cap = AdaptiveCap(4)
    teach(cap, 1, 12)
    teach(cap, 2, 12)
    assert cap.rows(RAISE_AFTER_SECONDS - 1) == 1
    assert cap.rows(RAISE_AFTER_SECONDS) == 2
    teach(cap, 2, 12, now=RAISE_AFTER_SECONDS, steps=7)
    assert cap.rows(RAISE_AFTER_SECONDS) == 2
    teach(cap, 2, 12, now=RAISE_AFTER_SECONDS, steps=1)
    assert cap.rows(RAISE_AFTER_SECONDS) == 1


def test_a_single_row_always_runs():
    cap = AdaptiveCap(1)
    teach(cap, 1, 0.1)
    assert cap.rows(0.0) == 1
