"""The first-content clock: absolute, extended once by a preamble, far longer for a cold load."""

from __future__ import annotations

from server.relay.clocks import FirstContentClock, RelayTimes


def clock() -> FirstContentClock:
    return FirstContentClock(RelayTimes(), prompt_tokens=1000, now=100.0)


def test_deadline_is_base_and_a_millisecond_a_token() -> None:
    assert clock().deadline == 106.0
    assert clock().remaining_ms(100.0) == 6000
    assert clock().remaining_ms(200.0) == 1


def test_preamble_extends_once() -> None:
    one = clock()
    one.preamble()
    one.preamble()
    assert one.deadline == 196.0


def test_retries_do_not_restart_the_clock() -> None:
    one = clock()
    assert one.next_attempt(103.0)
    assert one.deadline == 106.0
    assert not one.next_attempt(105.9)


def test_a_preamble_does_not_pass_on() -> None:
    one = clock()
    one.preamble()
    assert one.next_attempt(103.0)
    assert one.deadline == 106.0
    one.preamble()
    assert one.deadline == 196.0


def test_after_a_long_preamble_the_base_time_runs_anew() -> None:
    one = clock()
    one.preamble()
    assert one.next_attempt(150.0)
    assert one.deadline == 156.0
    one.preamble()
    assert one.deadline == 196.0
    assert one.next_attempt(190.0)
    assert one.deadline == 196.0
    assert not one.next_attempt(196.0)


def test_what_a_backup_says_buys_time_for_itself() -> None:
    one = clock()
    backup = one.backup()
    assert backup.deadline == 106.0
    backup.preamble()
    assert (one.deadline, backup.deadline) == (106.0, 196.0)
    backup.accepted(103.0)
    assert (one.deadline, backup.deadline) == (106.0, 703.0)
    assert backup.remaining_ms(702.0) == 1000
    one.accepted(104.0)
    assert (one.deadline, backup.deadline) == (704.0, 703.0)


def test_an_allowance_replaces_the_configured_time() -> None:
    assert FirstContentClock(RelayTimes(), prompt_tokens=1000, now=100.0, allowance=9.0).deadline == 109.0


def test_accepted_gives_a_cold_load_its_time_and_the_next_attempt_the_base() -> None:
    one = clock()
    one.accepted(101.0)
    assert one.deadline == 701.0
    assert one.next_attempt(400.0)
    assert one.deadline == 406.0
