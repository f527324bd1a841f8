"""The operations on money that crosses Stripe, as scenarios of the crash test.

Stripe does not die with us: the peer keeps its state in a table of the same database, written after each call. So the
process also dies right before and right after Stripe did something, and before its answer was read.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from protocol.api.errors import ApiError
from server.payments.fees import Method
from server.store import Store
from tests.testbed.crash import CrashScenario
from tests.testbed.stripe_peer import Json, Reply, StripePeer
from tests.testbed.stripe_peer_audit import audit
from tests.testbed.stripe_peer_world import HOUR, HandClock, World, open_world

GROSS = 33_340_000
EARNED = 40_000_000
CENTS = 500

Act = Callable[[World], Awaitable[None]]


class LastingPeer(StripePeer):
    """A peer whose state survives the process, because it is in the database."""

    __slots__ = ("_hand", "_store")

    def __init__(self, store: Store, hand: HandClock) -> None:
        super().__init__(hand.seconds)
        self._store = store
        self._hand = hand

    async def restore(self) -> None:
        """Go on from what was kept."""
        row = await self._store.read(lambda tx: tx.row("SELECT state, micros FROM stripe_peer"))
        if row is not None:
            self.load(bytes.fromhex(str(row["state"])))
            self._hand.micros = int(row["micros"] or 0)

    async def keep(self) -> None:
        """Keep what is known now."""
        state, micros = self.dump().hex(), self._hand.micros
        await self._store.write(lambda tx: tx.execute("UPDATE stripe_peer SET state = $1, micros = $2", state, micros))

    async def handle(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        """Answer a call, and keep what it did."""
        try:
            return await super().handle(method, path, headers, body)
        finally:
            if method == "POST":
                await self.keep()


@asynccontextmanager
async def lasting_world(store: Store) -> AsyncGenerator[World, None]:
    """Yield payments as a process that just started sees them."""
    clock = HandClock()
    peer = LastingPeer(store, clock)
    await peer.restore()
    async with open_world(store, peer=peer, clock=clock) as world:
        yield world


def scenario(prepare: Act, run: Act, *, expected: Act, recover: Act | None = None) -> CrashScenario:
    """Make a scenario; after recovery the books are right, after the repetition `expected` holds as well."""

    async def make_ready(store: Store) -> None:
        await store.write(
            lambda tx: tx.execute("CREATE TABLE stripe_peer (state TEXT NOT NULL, micros BIGINT NOT NULL)")
        )
        await store.write(lambda tx: tx.execute("INSERT INTO stripe_peer (state, micros) VALUES ('', 0)"))
        clock = HandClock()
        peer = LastingPeer(store, clock)
        async with open_world(store, peer=peer, clock=clock) as world:
            await prepare(world)
        await peer.keep()

    async def in_a_world(store: Store, act: Act) -> None:
        async with lasting_world(store) as world:
            await act(world)

    async def look_again(world: World) -> None:
        """Let an hour pass, and the reconciler look, as after every start."""
        await (recover or _nothing)(world)
        await world.reconcile_after(HOUR)
        assert isinstance(world.peer, LastingPeer)
        await world.peer.keep()

    async def end(world: World) -> None:
        await audit(world)
        await expected(world)

    return CrashScenario(
        prepare=make_ready,
        run=lambda store: in_a_world(store, run),
        recover=lambda store: in_a_world(store, look_again),
        check=lambda store: in_a_world(store, audit),
        check_end=lambda store: in_a_world(store, end),
    )


async def _nothing(world: World) -> None:
    """Change nothing."""


async def _payee(world: World) -> None:
    await world.payee("ann", earned=EARNED, destination="card")


def _withdraw(method: Method) -> Act:
    async def act(world: World) -> None:
        with suppress(ApiError):
            await world.payouts.withdrawals.withdraw(
                "ann", gross_micro_usd=GROSS, method=method, idempotency_key="the-same-click"
            )

    return act


async def _withdraw_rejected(world: World) -> None:
    world.peer.plan("rejected", "/v1/transfers", code="balance_insufficient")
    await _withdraw("instant")(world)


async def _withdraw_payout_rejected(world: World) -> None:
    world.peer.plan("rejected", "/v1/payouts", code="instant_payouts_limit_exceeded")
    await _withdraw("instant")(world)


async def _gone_out_once(world: World) -> None:
    row = await world.only_withdrawal()
    assert (row.status, row.needs_review, len(world.peer.transfers)) == ("transferred", False, 1)
    assert await world.balance("ann") == (EARNED - GROSS, EARNED - GROSS, 0, 0)
    assert len(world.peer.payouts) == (1 if row.method == "instant" else 0)


async def _gone_or_back(world: World) -> None:
    """A refusal of the first attempt returns all; one whose answer was lost is tried again, and goes through."""
    row = await world.only_withdrawal()
    assert row.status in ("failed", "transferred")
    left = EARNED if row.status == "failed" else EARNED - GROSS
    assert (await world.balance("ann")).balance == left


async def _fee_back_or_paid_out(world: World) -> None:
    row = await world.only_withdrawal()
    assert row.status == "transferred"
    assert row.fee_refunded != bool(row.payout_id)
    fee = row.fee_micro_usd if row.fee_refunded else 0
    assert (await world.balance("ann")).balance == EARNED - GROSS + fee


async def _begun_instant(world: World) -> None:
    await _payee(world)
    await _withdraw("instant")(world)


async def _bounced(world: World) -> None:
    await _begun_instant(world)
    world.peer.bounce_payout((await world.only_withdrawal()).payout_id)


async def _reversed(world: World) -> None:
    await _begun_instant(world)
    world.peer.reverse((await world.only_withdrawal()).transfer_id)


async def _swept(world: World) -> None:
    connected = await world.payee("ann", earned=EARNED)
    await _withdraw("standard")(world)
    world.clock.go(HOUR)
    payout = world.peer.sweep(connected)
    assert payout is not None
    world.peer.settle_payout(payout)


async def _deliver(world: World) -> None:
    """Deliver the last event, as Stripe does until it gets a 200."""
    event: Json = world.peer.outbox[-1]
    assert await (world.connect_hook if "account" in event else world.deposit_hook)(event) == 200


async def _buy(world: World) -> None:
    assert world.payments.deposits is not None
    begun = await world.payments.deposits.begin("bob", cents=CENTS)
    world.peer.pay(begun.stripe_session_id)
    assert isinstance(world.peer, LastingPeer)
    await world.peer.keep()
    await _deliver(world)


async def _bought_all_that_was_paid(world: World) -> None:
    """Everything that a customer paid is credited once its event was delivered."""
    for event in world.peer.outbox:
        assert await world.deposit_hook(event) == 200
    paid = sum(1 for page in world.peer.sessions.values() if page["payment_status"] == "paid")
    assert paid >= 1
    assert (await world.balance("bob")).balance == paid * CENTS * 10_000


async def _paid_page(world: World) -> None:
    await world.person("bob")
    assert world.payments.deposits is not None
    begun = await world.payments.deposits.begin("bob", cents=CENTS)
    world.peer.pay(begun.stripe_session_id)


async def _refunded_page(world: World) -> None:
    await _paid_page(world)
    await _deliver(world)
    (page,) = world.peer.sessions
    world.peer.refund(page, total_cents=200)


def _balance(account: str, balance: int, status: str = "") -> Act:
    async def act(world: World) -> None:
        assert (await world.balance(account)).balance == balance
        if status:
            assert (await world.only_withdrawal()).status == status

    return act


async def _onboard(world: World) -> None:
    await world.payouts.onboarding.begin("ann", country="US", return_url=None, refresh_url=None)


async def _linked(world: World) -> None:
    """The person has an account; one whose answer was lost an hour ago stays behind empty, and costs nothing."""
    (user,) = await world.rows("SELECT stripe_account_id FROM users")
    assert user["stripe_account_id"] in world.peer.accounts
    assert len(world.peer.accounts) <= 2


async def _person(world: World) -> None:
    await world.person("ann")


FEE = 500_100
buy = scenario(_nothing, _buy, expected=_bought_all_that_was_paid)
deposit_hook = scenario(_paid_page, _deliver, expected=_balance("bob", CENTS * 10_000))
refund_hook = scenario(_refunded_page, _deliver, expected=_balance("bob", (CENTS - 200) * 10_000))
onboard = scenario(_person, _onboard, expected=_linked)
withdraw_standard = scenario(_payee, _withdraw("standard"), expected=_gone_out_once)
withdraw_instant = scenario(_payee, _withdraw("instant"), expected=_gone_out_once)
withdraw_rejected = scenario(_payee, _withdraw_rejected, expected=_gone_or_back)
withdraw_payout_rejected = scenario(_payee, _withdraw_payout_rejected, expected=_fee_back_or_paid_out)
bounce_hook = scenario(_bounced, _deliver, expected=_balance("ann", EARNED - GROSS + FEE, "transferred"))
reversal_hook = scenario(_reversed, _deliver, expected=_balance("ann", EARNED, "failed"))
sweep_hook = scenario(_swept, _deliver, expected=_balance("ann", EARNED - GROSS, "paid"))
