"""What the index keeps of each machine, and for how long."""

from __future__ import annotations

import pytest

from protocol.messages.from_provider import ModelEntry, ModelsUpdate
from server.registry import CatalogEntry, Reason
from tests.unit.server.registry.fleet import Fleet, request, wire_slot


def test_a_new_catalogue_voids_what_was_worked_out_with_the_old_one(fleet: Fleet) -> None:
    fleet.connect("a")
    fleet.beat("a", wire_slot(state="idle_shutdown"))
    assert fleet.registry.look(request(), fleet.now).candidates == 1
    fleet.registry.set_catalog([CatalogEntry(id="m", min_ram_gb=65.0)], fleet.now)
    assert fleet.registry.look(request(2), fleet.now).rejections == {Reason.MODEL_TOO_LARGE: 1}


def test_a_session_that_is_gone_keeps_no_entry(fleet: Fleet) -> None:
    session = fleet.warm("a")
    fleet.registry.look(request(), fleet.now)
    assert list(session.entries) == ["m"]
    fleet.registry.disconnect("a", fleet.now, graceful=True)
    assert not session.entries


def test_a_model_that_is_offered_no_more_leaves_no_entry(fleet: Fleet) -> None:
    session = fleet.warm("a")
    fleet.registry.look(request(), fleet.now)
    fleet.registry.models_update("a", ModelsUpdate(models=(ModelEntry(id="n"),)), fleet.now)
    assert list(session.entries) == ["n"]


def test_the_list_of_moments_is_bounded_however_often_machines_return() -> None:
    fleet = Fleet()
    for number in range(1_500):
        fleet.clock.now += 0.01
        fleet.warm(f"s{number}", stable_id="machine")
        fleet.registry.disconnect(f"s{number}", fleet.now, graceful=True)
    assert len(fleet.registry._index._flips) <= 1_100
    fleet.warm("last")
    assert fleet.registry.choose_and_reserve(request(), fleet.now).reservation is not None
    fleet.clock.now += 961.0
    assert fleet.registry.choose_and_reserve(request(2), fleet.now).rejections == {Reason.CHALLENGE_STALE: 1}


@pytest.mark.parametrize("seconds", [960.0, 960.001])
def test_a_challenge_grows_stale_without_anybody_telling(seconds: float) -> None:
    fleet = Fleet()
    fleet.warm("a")
    fleet.clock.now += seconds
    assert (fleet.registry.choose_and_reserve(request(), fleet.now).reservation is not None) is (seconds == 960.0)
