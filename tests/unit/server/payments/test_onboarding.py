"""Payees: onboarding pages, accounts that are kept or made anew, status, dashboard, unlinking, healing."""

from __future__ import annotations

import pytest
import trio

from protocol.api.errors import ApiError
from server.payments.onboarding import Onboarded
from tests.testbed.stripe_peer_world import HOUR, World


async def onboard(world: World, country: str = "US", *, back: str | None = None, again: str | None = None) -> Onboarded:
    return await world.payouts.onboarding.begin("ann", country=country, return_url=back, refresh_url=again)


async def user(world: World) -> dict[str, object]:
    (row,) = await world.rows("SELECT * FROM users")
    return {name.removeprefix("stripe_"): value for name, value in row.items() if name.startswith("stripe_")}


async def test_first_account_needs_a_country(world: World) -> None:
    await world.person("ann")
    with pytest.raises(ApiError) as caught:
        await onboard(world, "")
    assert (caught.value.status, caught.value.param) == (400, "country")


@pytest.mark.parametrize("country", ["CN", "XX", "USA", "U"])
async def test_countries_that_are_not_offered(world: World, country: str) -> None:
    await world.person("ann")
    with pytest.raises(ApiError, match="not offered") as caught:
        await onboard(world, country)
    assert caught.value.status == 400
    assert world.peer.calls == []


async def test_account_is_made_linked_and_led_to_its_page(world: World) -> None:
    await world.person("ann", email="ann@example.test")
    begun = await onboard(world, " us ")
    assert begun.url.endswith(begun.stripe_account_id)
    assert begun.status == "pending"
    assert await user(world) == {
        "account_id": begun.stripe_account_id,
        "account_status": "pending",
        "account_country": "US",
        "destination_type": "",
        "destination_last4": "",
        "instant_eligible": 0,
    }
    made, link = (next(c for c in world.peer.calls if c.path == path) for path in ("/v1/accounts", "/v1/account_links"))
    assert (made.form["email"], made.form["country"]) == ("ann@example.test", "US")
    assert link.form["return_url"] == "https://console.example.test/billing?stripe_return=1"
    assert link.form["refresh_url"] == link.form["return_url"]


async def test_account_is_kept(world: World) -> None:
    await world.person("ann")
    first = await onboard(world)
    for country in ("", "US", "us"):
        assert (await onboard(world, country)).stripe_account_id == first.stripe_account_id
    assert len(world.peer.accounts) == 1


async def test_account_that_is_gone_is_made_anew(world: World) -> None:
    await world.person("ann")
    first = await onboard(world)
    world.peer.drop_account(first.stripe_account_id)
    second = await onboard(world, "")
    assert second.stripe_account_id != first.stripe_account_id
    assert (await user(world))["account_id"] == second.stripe_account_id


async def test_other_country_makes_a_new_account(world: World) -> None:
    await world.person("ann")
    first = await onboard(world)
    second = await onboard(world, "IN")
    assert second.stripe_account_id != first.stripe_account_id
    assert world.peer.accounts[second.stripe_account_id]["tos_acceptance"] == {"service_agreement": "recipient"}
    assert (await user(world))["account_country"] == "IN"


async def test_wrong_agreement_makes_a_new_account(world: World) -> None:
    await world.person("ann")
    first = await onboard(world, "IN")
    world.peer.accounts[first.stripe_account_id]["tos_acceptance"] = {}
    second = await onboard(world, "")
    assert second.stripe_account_id != first.stripe_account_id
    assert world.peer.accounts[second.stripe_account_id]["country"] == "IN"


async def test_ten_clicks_at_once_make_one_account(world: World) -> None:
    await world.person("ann")
    found: set[str] = set()

    async def click() -> None:
        found.add((await onboard(world)).stripe_account_id)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(click)
    assert len(found) == 1
    assert len(world.peer.accounts) == 1


async def test_lost_answer_of_a_creation_does_not_make_two_accounts(world: World) -> None:
    await world.person("ann")
    world.peer.plan("cut_after", "/v1/accounts")
    with pytest.raises(ApiError) as caught:
        await onboard(world)
    assert caught.value.status == 502
    await onboard(world)
    assert len(world.peer.accounts) == 1


async def test_saved_failure_of_a_creation_ends_after_an_hour(world: World) -> None:
    """Stripe repeats a failure under its key for a day; nobody should wait that long."""
    await world.person("ann")
    world.peer.plan("error_saved", "/v1/accounts")
    for _ in range(2):
        with pytest.raises(ApiError):
            await onboard(world)
    world.clock.go(HOUR)
    await onboard(world)


@pytest.mark.parametrize("param", ["return_url", "refresh_url"])
async def test_pages_outside_the_console_are_refused(world: World, param: str) -> None:
    await world.person("ann")
    evil = "https://evil.test/"
    with pytest.raises(ApiError) as caught:
        await onboard(
            world, back=evil if param == "return_url" else None, again=evil if param == "refresh_url" else None
        )
    assert (caught.value.status, caught.value.param) == (400, param)
    assert world.peer.calls == []


async def test_own_page_is_used(world: World) -> None:
    await world.person("ann")
    await onboard(world, back="http://localhost:5173/billing")
    link = next(call for call in world.peer.calls if call.path == "/v1/account_links")
    assert link.form["return_url"] == link.form["refresh_url"] == "http://localhost:5173/billing"


async def test_status_is_ours_until_stripe_is_asked(world: World) -> None:
    connected = await world.payee("ann")
    accounts = world.payouts.accounts
    assert (await accounts.status("ann", refresh=False)).due is None
    assert world.peer.calls == []
    world.peer.accounts[connected] |= {
        "payouts_enabled": False,
        "requirements": {"currently_due": ["individual.id_number"], "disabled_reason": "requirements.past_due"},
    }
    fresh = await accounts.status("ann", refresh=True)
    assert (fresh.due, fresh.payee.status) == (["individual.id_number"], "restricted")
    world.peer.plan("error_before", "/v1/accounts", method="GET")
    with pytest.raises(ApiError) as caught:
        await accounts.status("ann", refresh=True)
    assert caught.value.status == 502
    world.peer.drop_account(connected)
    assert (await accounts.status("ann", refresh=True)).payee.stripe_account_id == ""
    assert (await accounts.status("ann", refresh=True)).due is None


async def test_dashboard(world: World) -> None:
    connected = await world.payee("ann")
    assert (await world.payouts.onboarding.dashboard("ann")).endswith(connected)
    world.peer.plan("error_before", "/v1/accounts")
    with pytest.raises(ApiError) as caught:
        await world.payouts.onboarding.dashboard("ann")
    assert caught.value.status == 502
    world.peer.plan("rejected", "/v1/accounts", code="account_invalid")
    with pytest.raises(ApiError) as caught:
        await world.payouts.onboarding.dashboard("ann")
    assert caught.value.code == "stripe_account_gone"
    with pytest.raises(ApiError) as caught:
        await world.payouts.onboarding.dashboard("ann")
    assert caught.value.code == "not_onboarded"


async def test_unlinking_is_local(world: World) -> None:
    connected = await world.payee("ann")
    assert await world.payouts.onboarding.unlink("ann") is True
    assert await world.payouts.onboarding.unlink("ann") is False
    assert connected in world.peer.accounts
    assert world.peer.calls == []


async def test_manual_schedule_is_healed_whenever_it_is_seen(world: World) -> None:
    connected = await world.payee("ann")
    schedule = world.peer.accounts[connected]["settings"]["payouts"]["schedule"]
    schedule["interval"] = "manual"
    await world.payouts.accounts.status("ann", refresh=True)
    assert (schedule["interval"], world.meter.alerts) == ("daily", ["schedule_was_manual"])


async def test_failed_healing_does_not_stop_the_reading(world: World) -> None:
    connected = await world.payee("ann")
    schedule = world.peer.accounts[connected]["settings"]["payouts"]["schedule"]
    schedule["interval"] = "manual"
    world.peer.plan("error_before", "/v1/accounts")
    assert (await world.payouts.accounts.status("ann", refresh=True)).payee.status == "ready"
    assert schedule["interval"] == "manual"
