"""One round over all models: who is served first, and who takes which machine."""

from __future__ import annotations

from server.pool.candidates import ColdMachine
from server.pool.wishes import ROUND_MAX, Wish, order_loads
from server.registry import CatalogEntry, LoadCause, RoutingPolicy
from tests.unit.server.pool.test_warm_pool import MODEL, OTHER, cold, controller, queue, suffer
from tests.unit.server.registry.fleet import Fleet, session

MACHINES = {name: ColdMachine(session(session_id=name), 0.0, evicts=False) for name in ("a", "b", "c")}


def wish(model: str, patience: float, *names: str, foreseen: bool = False) -> Wish:
    return Wish(foreseen, patience, model, [MACHINES[name] for name in names])


def found(wishes: list[Wish], room: int) -> list[tuple[str, str]]:
    return [(order.model, order.session.session_id) for order in order_loads(wishes, room)]


def test_the_most_pressing_wishes_are_served_in_whatever_order_they_come() -> None:
    wishes = [wish("x", -1.0, "a"), wish("y", -3.0, "a"), wish("z", -2.0, "a", "b")]
    assert found(wishes, 3) == found(wishes[::-1], 3) == [("y", "a"), ("z", "b")]
    assert found(wishes, 1) == [("y", "a")]
    assert found(wishes, 0) == []


def test_a_wish_that_cannot_be_served_takes_no_room() -> None:
    assert found([wish("x", -3.0), wish("y", -1.0, "a")], 1) == [("y", "a")]


def test_what_is_needed_goes_before_what_is_foreseen() -> None:
    wishes = [wish("x", -9.0, "a", foreseen=True), wish("y", -1.0, "a")]
    (order,) = order_loads(wishes, 2)
    assert (order.model, order.cause) == ("y", LoadCause.WARM)


def test_a_round_thinks_of_a_bounded_number_of_wishes() -> None:
    wishes = [wish("x", -2.0) for _ in range(ROUND_MAX)]
    assert found([*wishes, wish("y", -1.0, "a")], 5) == []
    assert found([*wishes[1:], wish("y", -1.0, "a")], 5) == [("y", "a")]


def test_two_models_do_not_fight_for_a_machine_when_another_would_do() -> None:
    catalog = [CatalogEntry(id=MODEL, size_gb=8.0), CatalogEntry(id=OTHER, size_gb=8.0, min_ram_gb=100.0)]
    fleet = Fleet(policy=RoutingPolicy(quality_cap=False), catalog=catalog)
    cold(fleet, "large", memory_gb=128.0, free_for_load=100.0)
    cold(fleet, "small", memory_gb=64.0, free_for_load=40.0)
    suffer(fleet, MODEL)
    suffer(fleet, OTHER)
    chosen = {order.model: order.session.session_id for order in controller(fleet).tick(fleet.now).orders}
    assert chosen == {MODEL: "small", OTHER: "large"}


def test_the_next_load_goes_to_the_model_that_lacks_most() -> None:
    fleet = Fleet()
    for name in "abcd":
        cold(fleet, name)
    for number in range(9):
        queue(fleet, number, MODEL, account_id=f"a{number}")
    for number in range(9, 14):
        queue(fleet, number, OTHER, account_id=f"a{number}")
    pool = controller(fleet, max_pending=4)
    orders = pool.tick(fleet.now).orders
    assert [order.model for order in orders] == [MODEL, MODEL, OTHER, MODEL]
    assert [one.loads for one in pool.tick(fleet.now).snapshots] == [3, 1]
