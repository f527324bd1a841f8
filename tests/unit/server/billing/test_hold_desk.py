"""Holds as the API and the relay use them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from protocol.api.errors import ApiError
from server.billing.hold_desk import HoldRequest, Serving
from server.billing.key_spend import KeyCap
from server.billing.prices import Price
from server.store.errors import StoreError

if TYPE_CHECKING:
    from tests.unit.server.billing.conftest import Desk

REQUEST = HoldRequest(request_id="r", account_id="a", model="build", prompt_tokens=4000, max_tokens=8192)
DEAR = Price(150_000, 600_000)
"""Three times the fallback: the example's reservation of 1,838 becomes 5,515."""


def _request(**changes: object) -> HoldRequest:
    values = {name: getattr(REQUEST, name) for name in HoldRequest.__slots__} | changes
    return HoldRequest(**values)


async def _drain(desk: Desk) -> None:
    """Let the queue do what it holds."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.billing.queue.run)
        while len(desk.billing.queue):
            await trio.sleep(0.001)
        nursery.cancel_scope.cancel()


async def test_the_reservation_of_the_table(desk: Desk) -> None:
    await desk.books.grant("a", credit=1_000_000)
    hold = await desk.billing.desk.open_hold(REQUEST)
    assert (hold.base, hold.amount, hold.price) == (1838, 1838, (50_000, 200_000, None))
    assert await desk.books.balance("a") == (1_000_000, 0, 1838, 0)
    assert desk.billing.desk.find("r") is hold
    assert desk.heard.holds == [("held", 1838)]
    [row] = await desk.books.rows("SELECT model, instance_id, expires_at - created_at AS life FROM reservations")
    assert tuple(row.values()) == ("build", "instance", 900_000_000)


async def test_too_little_money_is_a_402(desk: Desk) -> None:
    await desk.books.grant("a", credit=1)
    with pytest.raises(ApiError) as caught:
        await desk.billing.desk.open_hold(REQUEST)
    error = caught.value
    assert (error.status, error.error_type, error.code) == (402, "insufficient_funds", "insufficient_quota")
    assert "reserves $0.001838" in error.message
    assert desk.billing.desk.find("r") is None
    assert len(desk.billing.queue) == 0
    assert desk.heard.holds == [("insufficient_funds", 1838)]


async def test_a_spend_cap_is_a_402_that_names_window_cap_and_use(desk: Desk) -> None:
    await desk.books.grant("a", credit=10_000_000)
    cap = KeyCap(limit=5_000_000, window="monthly")
    await desk.books.hold("old", "a", 4_990_000)
    await desk.books.settle("old", "a", 4_990_000, key_id="k")
    with pytest.raises(ApiError) as caught:
        await desk.billing.desk.open_hold(_request(key_id="k", key_cap=cap, prompt_tokens=10**6))
    error = caught.value
    assert (error.status, error.error_type, error.code) == (402, "insufficient_quota", "insufficient_quota")
    assert error.message.startswith("API key spend limit reached (monthly cap $5.00, used $4.99)")
    assert desk.heard.holds[-1][0] == "spend_cap"


async def test_a_database_that_is_away_is_a_503_and_never_a_402(desk: Desk) -> None:
    desk.store.down = True
    for request in (REQUEST, _request(exempt="covered", request_id="r2")):
        with pytest.raises(ApiError) as caught:
            await desk.billing.desk.open_hold(request)
        assert (caught.value.status, caught.value.error_type) == (503, "service_unavailable")
        assert ("Retry-After", "5") in caught.value.headers()


async def test_a_lost_answer_leaves_no_hold_behind(desk: Desk) -> None:
    await desk.books.grant("a", credit=1_000_000)
    await desk.billing.prices.price("build")
    desk.store.lose_answers = 1
    with pytest.raises(ApiError) as caught:
        await desk.billing.desk.open_hold(REQUEST)
    assert caught.value.status == 503
    assert (await desk.books.balance("a")).held == 1838  # it was committed
    await _drain(desk)
    assert (await desk.books.balance("a")).held == 0
    assert desk.billing.desk.find("r") is None


async def test_a_cancelled_opening_leaves_no_hold_behind(desk: Desk) -> None:
    await desk.books.grant("a", credit=1_000_000)
    await desk.billing.prices.price("build")
    for n in range(8):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(desk.billing.desk.open_hold, _request(request_id=f"r{n}"))
                for _ in range(n):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        await _drain(desk)
        hold = desk.billing.desk.find(f"r{n}")
        if hold is not None:  # it was finished before the cancellation
            await desk.billing.desk.cancel(hold)
        assert (await desk.books.balance("a")).held == 0


async def test_exempt_requests_take_no_hold(desk: Desk) -> None:
    covered = await desk.billing.desk.open_hold(_request(account_id="admin", exempt="covered"))
    own = await desk.billing.desk.open_hold(_request(request_id="r2", exempt="self"))
    assert (covered.durable, own.durable, covered.base) == (False, False, 1838)
    assert await desk.books.rows("SELECT * FROM reservations") == []
    assert desk.heard.holds == [("exempt", 1838)] * 2
    await desk.billing.desk.cancel(covered)
    assert desk.billing.desk.find("r") is None


async def test_own_machines_need_no_database(desk: Desk) -> None:
    desk.store.down = True
    hold = await desk.billing.desk.open_hold(_request(exempt="self"))
    assert await desk.billing.desk.raise_for_provider(hold, Serving(account_id="a", provider_key="k", model="build"))


async def test_a_dearer_provider_raises_the_hold_and_the_next_lowers_it(desk: Desk) -> None:
    await desk.books.grant("a", credit=10_000)
    await desk.billing.prices.set_own_price("o", "build", DEAR)
    hold = await desk.billing.desk.open_hold(REQUEST)
    dear, plain = (Serving(account_id=owner, provider_key="k", model="build") for owner in ("o", "p"))
    assert await desk.billing.desk.raise_for_provider(hold, dear)
    assert (hold.amount, hold.price, hold.serving) == (5515, DEAR, dear)
    assert (await desk.books.balance("a")).held == 5515
    assert await desk.billing.desk.raise_for_provider(hold, plain)
    assert (hold.amount, hold.price, hold.serving) == (1838, (50_000, 200_000, None), plain)
    assert (await desk.books.balance("a")).held == 1838
    await desk.billing.desk.raise_for_provider(hold, dear)
    await desk.billing.desk.lower(hold)
    assert (await desk.books.balance("a")).held == 1838


async def test_one_hold_carries_two_machines_and_the_dearer_one_counts(desk: Desk) -> None:
    await desk.books.grant("a", credit=10_000)
    await desk.billing.prices.set_own_price("o", "build", DEAR)
    hold = await desk.billing.desk.open_hold(REQUEST)
    dear, plain = (Serving(account_id=owner, provider_key="k", model="build") for owner in ("o", "p"))
    assert await desk.billing.desk.raise_for_provider(hold, plain)
    choose = await desk.billing.desk.carry_as_well(hold, dear)
    assert choose is not None
    # Room for either, not for both; and the first machine is still the one that is paid.
    assert (await desk.books.balance("a")).held == hold.amount == 5515
    assert (hold.price.input, hold.serving) == (50_000, plain)
    choose()
    assert (hold.price, hold.serving) == (DEAR, dear)


async def test_a_cheaper_second_machine_leaves_the_hold_as_it_is(desk: Desk) -> None:
    await desk.books.grant("a", credit=10_000)
    await desk.billing.prices.set_own_price("o", "build", DEAR)
    hold = await desk.billing.desk.open_hold(REQUEST)
    dear, plain = (Serving(account_id=owner, provider_key="k", model="build") for owner in ("o", "p"))
    assert await desk.billing.desk.raise_for_provider(hold, dear)
    choose = await desk.billing.desk.carry_as_well(hold, plain)
    assert choose is not None
    assert (await desk.books.balance("a")).held == hold.amount == 5515
    choose()
    assert (hold.price.input, hold.serving) == (50_000, plain)


async def test_a_second_machine_that_is_too_dear_changes_nothing(desk: Desk) -> None:
    await desk.books.grant("a", credit=2000)
    await desk.billing.prices.set_own_price("o", "build", DEAR)
    hold = await desk.billing.desk.open_hold(REQUEST)
    plain = Serving(account_id="p", provider_key="k", model="build")
    assert await desk.billing.desk.raise_for_provider(hold, plain)
    assert await desk.billing.desk.carry_as_well(hold, Serving(account_id="o", provider_key="k", model="build")) is None
    assert (hold.amount, hold.serving) == (1838, plain)
    assert (await desk.books.balance("a")).held == 1838


async def test_a_provider_that_is_too_dear_is_left_out(desk: Desk) -> None:
    await desk.books.grant("a", credit=2000)
    await desk.billing.prices.set_own_price("o", "build", DEAR)
    hold = await desk.billing.desk.open_hold(REQUEST)
    assert not await desk.billing.desk.raise_for_provider(
        hold, Serving(account_id="o", provider_key="k", model="build")
    )
    assert (hold.amount, hold.serving, hold.price.input) == (1838, None, 50_000)
    assert (await desk.books.balance("a")).held == 1838
    assert desk.heard.holds[-1][0] == "provider_price"


async def test_the_cap_counts_for_a_raise(desk: Desk) -> None:
    await desk.books.grant("a", credit=1_000_000)
    await desk.billing.prices.set_own_price("o", "build", DEAR)
    hold = await desk.billing.desk.open_hold(_request(key_id="k", key_cap=KeyCap(limit=5000, window="none")))
    assert not await desk.billing.desk.raise_for_provider(
        hold, Serving(account_id="o", provider_key="k", model="build")
    )
    assert (await desk.books.balance("a")).held == 1838


async def test_service_accounts_pay_the_platform_price(desk: Desk) -> None:
    await desk.books.grant("a", credit=10_000)
    await desk.billing.prices.set_own_price("o", "build", DEAR)
    hold = await desk.billing.desk.open_hold(_request(service=True))
    assert await desk.billing.desk.raise_for_provider(hold, Serving(account_id="o", provider_key="k", model="build"))
    assert (hold.amount, hold.price.input) == (1838, 50_000)


async def test_the_own_machine_never_raises(desk: Desk) -> None:
    await desk.books.grant("a", credit=2000)
    await desk.billing.prices.set_own_price("a", "build", DEAR)
    hold = await desk.billing.desk.open_hold(REQUEST)
    assert await desk.billing.desk.raise_for_provider(hold, Serving(account_id="a", provider_key="k", model="build"))
    assert hold.amount == 1838


async def test_a_later_price_does_not_change_a_running_request(desk: Desk) -> None:
    await desk.books.grant("a", credit=10_000)
    hold = await desk.billing.desk.open_hold(REQUEST)
    await desk.billing.desk.raise_for_provider(hold, Serving(account_id="o", provider_key="k", model="build"))
    await desk.platform_price("build", DEAR)
    assert hold.price.input == 50_000
    assert (await desk.billing.prices.price("build")) == DEAR


async def test_raising_a_hold_that_was_swept_is_our_fault(desk: Desk) -> None:
    await desk.books.grant("a", credit=10_000)
    await desk.billing.prices.set_own_price("o", "build", DEAR)
    hold = await desk.billing.desk.open_hold(REQUEST)
    await desk.books.release("r")
    with pytest.raises(ApiError) as caught:
        await desk.billing.desk.raise_for_provider(hold, Serving(account_id="o", provider_key="k", model="build"))
    assert caught.value.status == 500
    await desk.billing.desk.lower(hold)


async def test_raising_without_a_database_is_a_503(desk: Desk) -> None:
    await desk.books.grant("a", credit=10_000)
    hold = await desk.billing.desk.open_hold(REQUEST)
    desk.store.down = True
    with pytest.raises(ApiError) as caught:
        await desk.billing.desk.raise_for_provider(hold, Serving(account_id="o", provider_key="k", model="build"))
    assert caught.value.status == 503
    assert hold.serving is None


async def test_cancel_gives_everything_back_once(desk: Desk) -> None:
    await desk.books.grant("a", credit=10_000)
    hold = await desk.billing.desk.open_hold(REQUEST)
    await desk.billing.desk.cancel(hold)
    await desk.billing.desk.cancel(hold)
    assert await desk.books.balance("a") == (10_000, 0, 0, 0)
    assert desk.heard.releases == [(1838, "unused")]
    assert list(desk.billing.desk.open) == []


async def test_a_prompt_that_grew_raises_the_hold(desk: Desk) -> None:
    await desk.books.grant("a", credit=2000)
    hold = await desk.billing.desk.open_hold(REQUEST)
    await desk.billing.desk.grow(hold, 3000)  # smaller than the bound: nothing to do
    await desk.billing.desk.grow(hold, 6000)
    assert (hold.base, hold.amount, hold.request.prompt_tokens) == (1938, 1938, 6000)
    assert (await desk.books.balance("a")).held == 1938
    with pytest.raises(ApiError) as caught:
        await desk.billing.desk.grow(hold, 60_000)
    assert (caught.value.status, caught.value.error_type) == (402, "insufficient_funds")
    assert (hold.base, (await desk.books.balance("a")).held) == (1938, 1938)
    own = await desk.billing.desk.open_hold(_request(request_id="r2", exempt="self"))
    await desk.billing.desk.grow(own, 60_000)
    assert own.base == 4638


async def test_a_hold_that_cannot_be_given_back_is_forgotten(desk: Desk) -> None:
    await desk.books.grant("a", credit=2000)
    hold = await desk.billing.desk.open_hold(REQUEST)
    await desk.books.run("UPDATE balances SET held_micro_usd = 5")  # as no code of ours could leave it
    with pytest.raises(StoreError):
        await desk.billing.desk.cancel(hold)
    assert desk.billing.desk.find("r") is None
    desk.books.now += 16 * 60_000_000
    assert await desk.billing.sweeper.turn() == 0  # tells of it, and goes on
    await desk.books.run("UPDATE balances SET held_micro_usd = 1838")
    assert await desk.billing.sweeper.turn() == 1


async def test_the_gauge_tells_of_open_holds(desk: Desk) -> None:
    await desk.books.grant("a", credit=10_000)
    assert desk.billing.desk.gauge() == (0, 0, 0.0)
    await desk.billing.desk.open_hold(REQUEST)
    desk.books.now += 5_000_000
    await desk.billing.desk.open_hold(_request(request_id="r2"))
    await desk.billing.desk.open_hold(_request(request_id="r3", exempt="self"))
    assert desk.billing.desk.gauge() == (2, 3676, 5.0)


async def test_cancel_waits_for_the_database(desk: Desk) -> None:
    await desk.books.grant("a", credit=10_000)
    hold = await desk.billing.desk.open_hold(REQUEST)
    desk.store.down = True
    await desk.billing.desk.cancel(hold)
    assert len(desk.billing.queue) == 1
    desk.store.down = False
    await _drain(desk)
    assert (await desk.books.balance("a")).held == 0
    assert desk.billing.desk.find("r") is None


async def test_one_id_has_one_hold(desk: Desk) -> None:
    await desk.books.grant("a", credit=10_000)
    await desk.billing.desk.open_hold(REQUEST)
    with pytest.raises(ApiError) as caught:
        await desk.billing.desk.open_hold(REQUEST)
    assert caught.value.status == 500
    desk.billing.desk.forget("r")
    await desk.books.release("r")
    with pytest.raises(ApiError) as caught:
        await desk.billing.desk.open_hold(REQUEST)
    assert caught.value.status == 500
    assert (await desk.books.balance("a")).held == 0
