"""Weights of catalogued models are confirmed after they were used, whatever the provider reports of its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from protocol.messages.from_provider import ModelEntry
from server.registry import CatalogEntry, Enqueue, Reason
from tests.unit.server.registry.fleet import Fleet, register_message, request, trusted, wire_slot

if TYPE_CHECKING:
    from server.registry import Reservation, Session
    from tests.unit.server.registry.fleet import FakeChannel

HASHED = register_message(ModelEntry(id="m", weight_hash="H", size_bytes=1), ModelEntry(id="n", size_bytes=1))


def cold_provider() -> tuple[Fleet, Session]:
    """A provider that proved itself, advertises the right hash, and never admits that the model is loaded."""
    fleet = Fleet(catalog=[CatalogEntry(id="m", weight_hash="H"), CatalogEntry(id="n")])
    one = fleet.connect("a", message=HASHED)
    fleet.beat("a")
    return fleet, one


def stream(fleet: Fleet, number: int = 1, model: str = "m") -> Reservation:
    """Reserve and receive the first chunk."""
    held = fleet.registry.choose_and_reserve(request(number, model=model), fleet.now).reservation
    assert held is not None
    held.mark_sent()
    held.mark_streaming(fleet.now)
    return held


def hastened(one: Session) -> int:
    channel: FakeChannel = one.channel  # type: ignore[assignment]
    return channel.hastened


@pytest.mark.parametrize("state", [None, "idle_shutdown", "unknown"])
def test_a_provider_that_hides_the_load_is_fenced_when_the_next_challenge_confirms_nothing(state: str | None) -> None:
    fleet, _ = cold_provider()
    stream(fleet).release(fleet.now)
    fleet.clock.now += 1
    fleet.beat("a", *([wire_slot(state=state)] if state else []))
    assert fleet.registry.look(request(2), fleet.now).candidates == 1
    fleet.registry.set_trust("a", trusted(fleet.now), fleet.now)
    assert fleet.registry.look(request(2), fleet.now).rejections == {Reason.MODEL_UNVERIFIED: 1}
    fleet.registry.models_update("a", HASHED, fleet.now)  # type: ignore[arg-type]
    assert fleet.registry.look(request(2), fleet.now).rejections == {Reason.MODEL_UNVERIFIED: 1}
    fleet.registry.set_trust("a", trusted(fleet.now, model_hashes={"m": "H"}), fleet.now)
    assert fleet.registry.look(request(2), fleet.now).candidates == 1


def test_the_first_content_asks_for_a_challenge_while_the_model_must_be_loaded() -> None:
    fleet, one = cold_provider()
    stream(fleet, 1)
    stream(fleet, 2)
    assert hastened(one) == 1
    assert one.content_since == {"m": fleet.now}
    fleet.clock.now += 1
    fleet.registry.set_trust("a", trusted(fleet.now, model_hashes={"m": "H"}), fleet.now)
    assert one.content_since == {}
    stream(fleet, 3)
    assert hastened(one) == 1


def test_a_model_that_was_confirmed_and_unloaded_may_be_loaded_again() -> None:
    fleet, one = cold_provider()
    stream(fleet, 1).release(fleet.now)
    for hashes in ({"m": "H"}, {}):
        fleet.clock.now += 300
        fleet.registry.set_trust("a", trusted(fleet.now, model_hashes=hashes), fleet.now)
    assert fleet.registry.look(request(2), fleet.now).candidates == 1
    stream(fleet, 2)
    assert hastened(one) == 2


def test_nothing_is_asked_for_a_model_without_an_expected_hash_or_after_the_end() -> None:
    fleet, one = cold_provider()
    stream(fleet, 1, model="n")
    late = fleet.registry.choose_and_reserve(request(2), fleet.now).reservation
    assert late is not None
    late.release(fleet.now)
    late.mark_streaming(fleet.now)
    gone = fleet.registry.choose_and_reserve(request(3), fleet.now).reservation
    assert gone is not None
    fleet.registry.disconnect("a", fleet.now, graceful=False)
    gone.mark_streaming(fleet.now)
    assert hastened(one) == 0
    assert one.content_since == {}


def test_a_place_from_the_queue_is_watched_too() -> None:
    fleet = Fleet(catalog=[CatalogEntry(id="m", weight_hash="H")])
    one = fleet.connect("a", message=HASHED)
    fleet.beat("a", wire_slot(max_concurrency=1, active_token_budget_max=100_000))
    first = fleet.registry.choose_and_reserve(request(1), fleet.now).reservation
    assert first is not None
    verdict = fleet.registry.decide(request(2), fleet.now)
    assert isinstance(verdict, Enqueue)
    waiter = fleet.registry.enqueue(request(2), verdict.decision, now=fleet.now, wake=lambda: None)
    first.release(fleet.now)
    placed = waiter.take()  # type: ignore[union-attr]
    assert placed is not None
    placed.mark_streaming(fleet.now)
    assert one.content_since == {"m": fleet.now}
