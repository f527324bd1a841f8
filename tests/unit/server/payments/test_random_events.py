"""Random traces of deposits, withdrawals, faults and events in any order: the books stay right, and all settles."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.api.errors import ApiError
from server.store.dialect import EngineKind
from tests.conftest import FULL
from tests.testbed.store import open_test_store
from tests.testbed.stripe_peer import Json
from tests.testbed.stripe_peer_audit import audit
from tests.testbed.stripe_peer_faults import FaultKind
from tests.testbed.stripe_peer_world import HOUR, World, open_world

FAULTS: list[FaultKind] = [
    "cut_before",
    "cut_after",
    "error_before",
    "error_after",
    "error_saved",
    "busy",
    "rate_limited",
    "rejected",
]
EXAMPLES = max(12, settings().max_examples // 16)
PATHS = ["/v1/transfers", "/v1/payouts", "/v1/checkout", "/v1/accounts"]


class Trace:
    """One random run over a world; `seed` decides everything."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.dice = random.Random(seed)
        self.undelivered: list[Json] = []
        self.delivered: list[Json] = []
        self.people: list[str] = []
        self.connected: list[str] = []
        # Nobody can pay a page whose address was lost on its way.
        self.pages: list[str] = []

    async def run(self, steps: int, name: str) -> None:
        """Make three people, take random steps, then let everything come to rest."""
        for number, (country, destination) in enumerate((("US", "card"), ("DE", "bank"), ("IN", "bank"))):
            person = f"{name}-{number}"
            earned = self.dice.choice((0, 3_000_000, 60_000_000))
            self.connected.append(
                await self.world.payee(person, earned=earned, country=country, destination=destination)
            )
            self.people.append(person)
        for step in range(steps):
            self.world.clock.go(self.dice.choice((0, 2, 60, HOUR)))
            await self.dice.choice(self.moves())()
            self.collect()
            if step % 8 == 0:
                await audit(self.world)
        await self.rest()
        await audit(self.world)

    def moves(self) -> list[Callable[[], Awaitable[None]]]:
        """Return what can happen, the frequent more than once."""
        return [
            *(self.withdraw, self.withdraw, self.withdraw, self.deposit, self.pay, self.pay, self.end_page),
            *(self.refund, self.dispute, self.sweep, self.sweep, self.settle, self.settle, self.bounce, self.reverse),
            *(self.fault, self.fault, self.deliver, self.deliver, self.deliver, self.repeat, self.reconcile),
        ]

    async def withdraw(self) -> None:
        gross = self.dice.choice((1_000_000, 1_010_000, 2_340_000, 33_340_000, 60_000_000))
        with suppress(ApiError):
            await self.world.payouts.withdrawals.withdraw(
                self.dice.choice(self.people),
                gross_micro_usd=gross,
                method=self.dice.choice(("standard", "instant")),
                idempotency_key=self.dice.choice(("", "", "k1", "k2")),
            )

    async def deposit(self) -> None:
        assert self.world.payments.deposits is not None
        with suppress(ApiError):
            begun = await self.world.payments.deposits.begin(
                self.dice.choice(self.people), cents=self.dice.choice((50, 499, 12_345))
            )
            self.pages.append(begun.stripe_session_id)

    async def pay(self) -> None:
        if page := self._pick(self._pages_where("status", "open")):
            self.world.peer.pay(page, status=self.dice.choice(("paid", "paid", "unpaid")))
            if self.world.peer.sessions[page]["payment_status"] == "unpaid":
                self.world.peer.pay(page, kind="checkout.session.async_payment_succeeded")

    async def end_page(self) -> None:
        if page := self._pick(self._pages_where("status", "open")):
            self.world.peer.close(page)

    async def refund(self) -> None:
        if page := self._pick(self._pages_where("payment_status", "paid")):
            charge = self.world.peer.sessions[page]
            before = charge.get("refunded", 0)
            charge["refunded"] = before + self.dice.randint(1, 100)
            self.world.peer.refund(page, total_cents=charge["refunded"], before_cents=before)

    async def dispute(self) -> None:
        if page := self._pick(self._pages_where("payment_status", "paid")):
            self.world.peer.dispute(page, self.world.peer.sessions[page]["amount_total"])

    async def sweep(self) -> None:
        account = self.dice.choice(self.connected)
        if self.world.peer.balances[account] > 0:
            self.world.peer.sweep(account)

    async def settle(self) -> None:
        if payout := self._pick(name for name, one in self.world.peer.payouts.items() if one["status"] == "pending"):
            self.world.peer.settle_payout(payout)

    async def bounce(self) -> None:
        if payout := self._pick(
            name for name, one in self.world.peer.payouts.items() if one["status"] in ("pending", "paid")
        ):
            self.world.peer.bounce_payout(payout, self.dice.choice(("payout.failed", "payout.canceled")))

    async def reverse(self) -> None:
        if transfer := self._pick(name for name, one in self.world.peer.transfers.items() if not one["reversed"]):
            self.world.peer.reverse(transfer, cents=self.dice.choice((None, 1)))

    async def fault(self) -> None:
        method = self.dice.choice(("POST", "POST", "POST", "GET"))
        self.world.peer.plan(
            self.dice.choice(FAULTS), self.dice.choice(PATHS), method=method, times=self.dice.choice((1, 1, 3, 4))
        )

    async def deliver(self) -> None:
        """Deliver any event that is due, not the oldest."""
        if self.undelivered:
            event = self.undelivered.pop(self.dice.randrange(len(self.undelivered)))
            if await self._send(event) == 500:
                self.undelivered.append(event)
            else:
                self.delivered.append(event)

    async def repeat(self) -> None:
        """Deliver an event again, sometimes as an event of its own."""
        if self.delivered:
            event = self.dice.choice(self.delivered)
            copy = {**event, "id": f"{event['id']}-{self.dice.random()}"} if self.dice.random() < 0.5 else event
            assert await self._send(copy) in (200, 500)

    async def reconcile(self) -> None:
        await self.world.reconcile_after(self.dice.choice((0, HOUR)))

    def collect(self) -> None:
        """Take what Stripe has to tell."""
        self.undelivered += self.world.peer.outbox
        self.world.peer.outbox.clear()

    async def rest(self) -> None:
        """End all faults, deliver everything that is due, and reconcile."""
        self.world.peer.faults.clear()
        self.dice.shuffle(self.undelivered)
        for _ in range(4):
            again = []
            for event in self.undelivered:
                if await self._send(event) == 500:
                    again.append(event)
            self.undelivered = again
            await self.reconcile()
        # Only takebacks of orders that were never credited may be left.
        assert {event["type"] for event in self.undelivered} <= {"charge.refunded", "charge.dispute.created"}
        await self.check_rest()

    async def check_rest(self) -> None:
        """Check what holds once every event was delivered."""
        payouts = self.world.peer.payouts
        for row in await self.world.rows("SELECT status, payout_id, sweep_payout_id FROM stripe_withdrawals"):
            if row["status"] == "paid":
                assert payouts[str(row["payout_id"] or row["sweep_payout_id"])]["status"] == "paid"
            elif row["status"] == "transferred" and row["payout_id"]:
                assert payouts[str(row["payout_id"])]["status"] == "pending"
        for name, page in self.world.peer.sessions.items():
            rows = await self.world.rows("SELECT status FROM billing_sessions WHERE external_id = $1", name)
            if rows and page["payment_status"] == "paid":
                assert rows[0]["status"] == "completed"

    async def _send(self, event: Json) -> int:
        return await (self.world.connect_hook if "account" in event else self.world.deposit_hook)(event)

    def _pages_where(self, name: str, value: str) -> list[str]:
        return [page for page in self.pages if self.world.peer.sessions[page][name] == value]

    def _pick(self, names: object) -> str | None:
        listed = list(names)  # type: ignore[call-overload]
        return self.dice.choice(listed) if listed else None


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@settings(max_examples=EXAMPLES)
@given(seed=st.integers(0, 2**32))
async def test_books_stay_right_whatever_happens(kind: EngineKind, seed: int) -> None:
    async with open_test_store(kind) as store, open_world(store) as world:
        await Trace(world, seed).run(60 if FULL or kind == "sqlite" else 30, "p")
