"""Reservations end exactly once, and the ledger's sums equal a recount (acceptance 6)."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.registry import ReleaseCause, Reservation, ReservationState
from server.registry.ledger import Ledger


def reservation(ledger: Ledger, name: str = "r", *, model: str = "m", tokens: int = 10) -> Reservation:
    one = Reservation(
        request_id=name,
        logical_id=name,
        attempt=1,
        session_id="s",
        model=model,
        prompt_tokens=tokens,
        max_tokens=5,
        kv_rate=0,
        reserved_at=0,
        cold=False,
        releaser=lambda held, _cause, _now: ledger.remove(held),
    )
    ledger.add(one)
    return one


def test_release_twice_frees_once_and_logs(caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger()
    one = reservation(ledger)
    assert one.release(1.0)
    assert not one.release(2.0)
    assert len(ledger) == 0
    assert [record.message for record in caplog.records] == ["reservation_released_twice"]


def test_release_after_disconnect_is_ordinary(caplog: pytest.LogCaptureFixture) -> None:
    one = reservation(Ledger())
    one.release(cause=ReleaseCause.DISCONNECT)
    with caplog.at_level(logging.INFO):
        assert not one.release()
    assert caplog.records == []


def test_context_manager_releases_on_every_way_out() -> None:
    ledger = Ledger()
    with reservation(ledger) as one:
        assert len(ledger) == 1
    assert one.released
    with pytest.raises(RuntimeError), reservation(ledger):
        raise RuntimeError
    with reservation(ledger) as one:
        one.release()
    assert len(ledger) == 0


def test_states_move_forward_only() -> None:
    one = reservation(Ledger())
    one.mark_sent()
    one.mark_accepted(5.0)
    one.mark_streaming(6.0)
    one.mark_sent()
    assert (one.state, one.first_sign_at) == (ReservationState.STREAMING, 5.0)
    one.release()
    one.mark_streaming(9.0)
    assert one.state is ReservationState.TERMINAL


def test_reflected_after_a_report_later_than_the_first_sign() -> None:
    ledger = Ledger()
    one, other = reservation(ledger, "a"), reservation(ledger, "b")
    one.mark_streaming(5.0)
    ledger.reflect(5.0)
    assert ledger.sums("m").unreflected == 30
    ledger.reflect(6.0)
    assert (one.reflected, other.reflected) == (True, False)
    assert ledger.sums("m").key() == (2, 30, 15)
    one.release()
    assert ledger.sums("m").key() == (1, 15, 15)


def test_what_a_report_counted_is_known_to_have_ended_until_the_next_one() -> None:
    ledger = Ledger()
    shown, silent = reservation(ledger, "a"), reservation(ledger, "b")
    shown.mark_streaming(5.0)
    ledger.reflect(6.0)
    fresh = reservation(ledger, "c")
    for one in (shown, silent, fresh):
        one.release()
    assert ledger.ended == {"m": 2}
    assert ledger.reflect(11.0)
    assert ledger.ended == {}
    assert not ledger.reflect(16.0)


def test_what_was_taken_since_a_report_is_fresh_until_the_next_one() -> None:
    ledger = Ledger()
    one, _ = reservation(ledger, "a"), reservation(ledger, "b")
    assert ledger.sums("m").fresh == 2
    one.release()
    assert ledger.sums("m").fresh == 1
    assert ledger.reflect(5.0)
    assert ledger.sums("m").fresh == 0
    assert not ledger.reflect(10.0)


def test_attempt_id_is_reserved_once() -> None:
    ledger = Ledger()
    reservation(ledger)
    with pytest.raises(ValueError, match="'r' is reserved on this session already"):
        reservation(ledger)


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "release", "sign", "reflect"]), st.integers(0, 5), st.sampled_from("mn")),
        max_size=60,
    )
)
def test_sums_equal_a_recount(steps: list[tuple[str, int, str]]) -> None:
    ledger = Ledger()
    for now, (step, number, model) in enumerate(steps):
        held = ledger.entries.get(f"r{number}")
        if step == "add" and held is None:
            reservation(ledger, f"r{number}", model=model, tokens=number)
        elif step == "release" and held is not None:
            held.release()
        elif step == "sign" and held is not None:
            held.mark_streaming(now)
        elif step == "reflect":
            ledger.reflect(now)
        assert ledger.by_model == ledger.recount()
