"""Model loads of a session: what may be asked for, how answers change it, and how long loads take."""

from __future__ import annotations

import pytest

from protocol.messages.from_provider import LoadModelStatus, ModelEntry
from server.registry import LoadCause
from server.registry.loads import LoadDurations, LoadOutcome
from server.registry.state import SlotState
from tests.unit.server.registry.fleet import Fleet, register_message


def ask(fleet: Fleet, model: str = "m") -> bool:
    return fleet.registry.request_load("a", model, LoadCause.WARM, fleet.now)


def answer(fleet: Fleet, status: str, model: str = "m") -> LoadOutcome:
    return fleet.registry.load_model_status("a", LoadModelStatus(model_id=model, status=status), fleet.now)  # type: ignore[arg-type]


@pytest.fixture
def cold(fleet: Fleet) -> Fleet:
    fleet.connect("a", message=register_message(ModelEntry(id="m"), ModelEntry(id="n")))
    fleet.beat("a", free_for_load=60.0)
    return fleet


def test_load_durations() -> None:
    durations = LoadDurations()
    assert durations.known("m", "M3|Max") is None
    found = []
    for seconds in (20.0, 40.0, 12.0):
        durations.note("m", "M3|Max", seconds)
        found.append(durations.known("m", "M3|Max"))
    assert found == [20.0, 25.0, 21.75]
    assert durations.known("m", "M1|Base") == 21.75
    durations.note("m", "M1|Base", 90.0)
    assert durations.known("m", "M1|Base") == 90.0


def test_load_durations_are_bounded() -> None:
    durations = LoadDurations()
    for number in range(LoadDurations.KEYS_MAX):
        durations.note(f"m{number}", "c", 1.0)
    assert durations.known("m0", "c") is None
    assert durations.known(f"m{LoadDurations.KEYS_MAX - 1}", "c") == 1.0


def test_one_load_at_a_time(cold: Fleet) -> None:
    assert ask(cold)
    assert not ask(cold)
    assert not ask(cold, "n")
    cold.clock.now += 120.0
    assert ask(cold, "n")


def test_started_gives_ten_minutes(cold: Fleet) -> None:
    ask(cold)
    assert answer(cold, "started") is LoadOutcome.STARTED
    cold.clock.now += 599.0
    assert not ask(cold)
    cold.clock.now += 1.0
    assert ask(cold)


def test_success_shows_the_model_warm_and_is_timed(cold: Fleet) -> None:
    ask(cold)
    cold.clock.now += 7.0
    assert answer(cold, "succeeded") is LoadOutcome.SUCCEEDED
    session = cold.registry.session("a")
    assert session is not None
    assert session.slot("m").state is SlotState.RESIDENT
    assert cold.registry.load_durations.known("m", "M3|Max") == 7.0


def test_failure_backs_off_for_thirty_seconds(cold: Fleet) -> None:
    ask(cold)
    assert answer(cold, "failed") is LoadOutcome.FAILED
    cold.clock.now += 29.9
    assert not ask(cold)
    assert ask(cold, "n")
    cold.clock.now += 120.1
    assert ask(cold)


@pytest.mark.parametrize("status", ["started", "succeeded", "failed"])
def test_what_was_not_asked_for_changes_nothing(cold: Fleet, status: str) -> None:
    told: list[LoadOutcome] = []
    cold.registry.on_load = lambda _session, _model, outcome: told.append(outcome)
    assert answer(cold, status) is LoadOutcome.IGNORED
    session = cold.registry.session("a")
    assert session is not None
    assert session.slot("m").state is SlotState.ABSENT
    assert told == [LoadOutcome.IGNORED]
