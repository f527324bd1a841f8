"""Money that several things want at once, and events that come again with another body."""

from __future__ import annotations

import copy

import pytest
import trio

from protocol.api.errors import ApiError
from server.billing import holds
from server.store import InsufficientBalance
from tests.testbed.stripe_peer import Json
from tests.testbed.stripe_peer_audit import audit
from tests.testbed.stripe_peer_world import World

EARNED, BOUGHT, HELD = 5_000_000, 5_000_000, 8_000_000
ACCOUNTS = 6


async def buy(world: World, account: str) -> tuple[str, Json]:
    """Buy for 5.00 USD; give the payment page and the event that told of its payment."""
    assert world.payments.deposits is not None
    begun = await world.payments.deposits.begin(account, cents=BOUGHT // 10_000)
    event = world.peer.pay(begun.stripe_session_id)
    assert await world.deposit_hook(event) == 200
    return begun.stripe_session_id, event


class Rush:
    """One account whose credits and earnings are disputed, withdrawn and held at the same moment."""

    def __init__(self, world: World, account: str) -> None:
        self.world = world
        self.account = account
        self.outcomes: dict[str, bool] = {}
        self.refusals: list[str | None] = []

    async def withdraw(self) -> None:
        try:
            await self.world.payouts.withdrawals.withdraw(self.account, gross_micro_usd=EARNED, method="standard")
        except ApiError as refusal:
            self.outcomes["withdrawn"] = False
            self.refusals.append(refusal.code)
        else:
            self.outcomes["withdrawn"] = True

    async def hold(self) -> None:
        now = self.world.clock()
        try:
            await self.world.store.write(
                lambda tx: holds.hold(
                    tx,
                    request_id=f"of-{self.account}",
                    account_id=self.account,
                    amount=HELD,
                    now=now,
                    expires_at=now + 1,
                )
            )
        except InsufficientBalance:
            self.outcomes["held"] = False
        else:
            self.outcomes["held"] = True

    async def take_back(self, event: Json) -> None:
        assert await self.world.deposit_hook(event) == 200

    async def run(self, page: str) -> None:
        dispute = self.world.peer.dispute(page, BOUGHT // 10_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.take_back, dispute)
            nursery.start_soon(self.withdraw)
            nursery.start_soon(self.hold)
            nursery.start_soon(self.take_back, dispute)

    async def check(self) -> None:
        """Whoever came first, nobody took what another one had."""
        left = await self.world.balance(self.account)
        assert left.is_sound()
        assert set(self.outcomes) == {"withdrawn", "held"}
        assert self.refusals == ([] if self.outcomes["withdrawn"] else ["insufficient_withdrawable"])
        assert not (self.outcomes["withdrawn"] and self.outcomes["held"])
        assert left.held == (HELD if self.outcomes["held"] else 0)
        # A hold had all the credits, or they went back to the customer's bank.
        credits_left = BOUGHT if self.outcomes["held"] else 0
        assert left.balance - left.withdrawable == credits_left
        assert left.withdrawable == (0 if self.outcomes["withdrawn"] else EARNED)


async def test_a_dispute_a_withdrawal_and_a_hold_want_the_same_money(world: World) -> None:
    rushes: list[tuple[Rush, str]] = []
    for number in range(ACCOUNTS):
        account = f"owner-{number}"
        await world.payee(account, earned=EARNED)
        page, _event = await buy(world, account)
        rushes.append((Rush(world, account), page))
    async with trio.open_nursery() as nursery:
        for rush, page in rushes:
            nursery.start_soon(rush.run, page)
    for rush, _page in rushes:
        await rush.check()
    await audit(world)


@pytest.mark.parametrize("change", ["account", "amount", "page", "type"])
async def test_an_event_that_comes_again_with_another_body_credits_nothing(world: World, change: str) -> None:
    await world.person("ann")
    await world.person("eve")
    assert world.payments.deposits is not None
    other = await world.payments.deposits.begin("eve", cents=BOUGHT // 10_000)
    _page, event = await buy(world, "ann")
    forged = copy.deepcopy(event)
    told = forged["data"]["object"]  # type: ignore[index,call-overload]
    match change:
        case "account":
            told["metadata"]["consumer_key"] = "eve"
        case "amount":
            told["amount_total"] = 1_000_000
        case "page":
            told["id"], told["metadata"]["billing_session_id"] = other.stripe_session_id, other.order.id
            told["metadata"]["consumer_key"] = "eve"
        case "type":
            forged["type"] = "checkout.session.async_payment_succeeded"
    assert await world.deposit_hook(forged) == 200
    assert (await world.balance("ann")).balance == BOUGHT
    assert (await world.balance("eve")).balance == 0
    await audit(world)
