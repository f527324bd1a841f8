"""Payments over the Stripe peer and a store: what the tests of money work in."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from protocol.settings import Secret
from server.billing.balance import Balance
from server.billing.ledger import GRANTS, Entry, post, read_balance
from server.config.payments import PaymentSettings
from server.payments.alerts import AlertKind, WebhookEndpoint, WebhookResult
from server.payments.open import Payments, Payouts, build_payments
from server.payments.stripe_client import StripeClient
from server.payments.stripe_http import StripeHttp
from server.payments.withdrawal_rows import Withdrawal, read_withdrawal
from server.store import Row, Store
from tests.testbed.stripe_peer import Json, StripePeer
from tests.testbed.stripe_peer_http import PeerTransport

HOOK_SECRET = "whsec_test_secret"
CONNECT_SECRET = "whsec_connect_secret"
HOST = "api.example.test"
SETTINGS = PaymentSettings(
    stripe_secret_key=Secret("sk_test_peer"),
    stripe_webhook_secret=(Secret("whsec_before_rotation"), Secret(HOOK_SECRET)),
    stripe_connect_webhook_secret=(Secret(CONNECT_SECRET),),
    stripe_success_url="https://console.example.test/billing?stripe_checkout_success=1",
    stripe_cancel_url="https://console.example.test/billing",
    stripe_connect_return_url="https://console.example.test/billing?stripe_return=1",
)
HOUR = 3600.0


class HandClock:
    """A wall clock that is moved by hand; every reading of microseconds goes on by one."""

    def __init__(self) -> None:
        self.micros = 1_800_000_000_000_000

    def __call__(self) -> int:
        self.micros += 1
        return self.micros

    def seconds(self) -> float:
        """Return Unix seconds."""
        return self.micros / 1_000_000

    def go(self, seconds: float) -> None:
        """Move on."""
        self.micros += int(seconds * 1_000_000)


@dataclass(slots=True)
class CountingMeter:
    """A meter that remembers."""

    alerts: list[AlertKind] = field(default_factory=list)
    hooks: list[tuple[WebhookEndpoint, WebhookResult]] = field(default_factory=list)

    def alert(self, kind: AlertKind) -> None:
        """See PaymentsMeter."""
        self.alerts.append(kind)

    def webhook(self, endpoint: WebhookEndpoint, result: WebhookResult) -> None:
        """See PaymentsMeter."""
        self.hooks.append((endpoint, result))


@dataclass(slots=True)
class World:
    """Everything that takes part, with shortcuts for what tests do all the time."""

    store: Store
    peer: StripePeer
    clock: HandClock
    meter: CountingMeter
    payments: Payments
    pauses: list[float]

    @property
    def payouts(self) -> Payouts:
        """The part that pays out."""
        assert self.payments.payouts is not None
        return self.payments.payouts

    async def person(self, account_id: str, *, earned: int = 0, bought: int = 0, email: str = "a@example.test") -> str:
        """Make a person with money."""
        now = self.clock()
        await self.store.write(
            lambda tx: tx.execute(
                "INSERT INTO users (account_id, privy_user_id, email, created_at, updated_at)"
                " VALUES ($1, $2, $3, $4, $4)",
                account_id,
                f"did:{account_id}",
                email,
                now,
            )
        )
        for kind, amount, part in (("admin_reward", earned, earned), ("admin_credit", bought, 0)):
            if amount:
                await self.grant(account_id, kind, amount, part)
        return account_id

    async def grant(self, account_id: str, kind: str, amount: int, earned: int) -> None:
        """Give money through the ledger."""
        now = self.clock()
        entries = [Entry(GRANTS, kind, -amount), Entry(account_id, kind, amount, earned)]
        await self.store.write(lambda tx: post(tx, "admin", f"test-seed:{account_id}:{kind}:{now}", entries, now))

    async def payee(
        self, account_id: str, *, earned: int = 0, bought: int = 0, country: str = "US", destination: str = "bank"
    ) -> str:
        """Make a person who can be paid out; returns the connected account."""
        await self.person(account_id, earned=earned, bought=bought)
        agreement = "" if country in ("US", "DE", "GB") else "recipient"
        connected = self.peer.new_account(country, agreement=agreement, destination=destination)
        now = self.clock()
        await self.store.write(
            lambda tx: tx.execute(
                "UPDATE users SET stripe_account_id = $2, stripe_account_status = 'ready', stripe_account_country = $3,"
                " stripe_instant_eligible = $4, updated_at = $5 WHERE account_id = $1",
                account_id,
                connected,
                country,
                int(destination == "card"),
                now,
            )
        )
        return connected

    async def balance(self, account_id: str) -> Balance:
        """Return an account's balance."""
        return await self.store.read(lambda tx: read_balance(tx, account_id))

    async def row(self, withdrawal_id: str) -> Withdrawal:
        """Return a withdrawal."""
        found = await self.store.read(lambda tx: read_withdrawal(tx, withdrawal_id))
        assert found is not None
        return found

    async def rows(self, sql: str, *args: int | str) -> list[Row]:
        """Read rows."""
        return await self.store.read(lambda tx: tx.fetch(sql, *args))

    async def only_withdrawal(self) -> Withdrawal:
        """Return the one withdrawal that there is."""
        (row,) = await self.rows("SELECT id FROM stripe_withdrawals")
        return await self.row(str(row["id"]))

    async def deposit_hook(self, event: Json) -> int:
        """Deliver an event of our own account, signed; returns the status."""
        assert self.payments.deposit_hooks is not None
        return await self.payments.deposit_hooks.receive(*self.peer.signed(event, HOOK_SECRET))

    async def connect_hook(self, event: Json) -> int:
        """Deliver an event of a connected account, signed; returns the status."""
        assert self.payments.connect_hooks is not None
        return await self.payments.connect_hooks.receive(*self.peer.signed(event, CONNECT_SECRET))

    async def reconcile_after(self, seconds: float) -> None:
        """Let time pass, then let the reconciler look once."""
        self.clock.go(seconds)
        await self.payouts.reconciler.run_once()


@asynccontextmanager
async def open_world(
    store: Store,
    *,
    settings: PaymentSettings = SETTINGS,
    api_url: str | None = None,
    peer: StripePeer | None = None,
    clock: HandClock | None = None,
) -> AsyncGenerator[World, None]:
    """Yield payments over a peer: in memory, or at `api_url` where `peer` is served; both share `clock`."""
    clock = clock or HandClock()
    peer = peer or StripePeer(clock.seconds)
    meter, pauses = CountingMeter(), list[float]()

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await trio.lowlevel.checkpoint()

    client = StripeClient(
        Secret("sk_test_peer"),
        api_url=api_url or "http://stripe.peer",
        http=StripeHttp(transport=PeerTransport(peer)) if api_url is None else None,
        network_retries=0,
    )
    try:
        payments = build_payments(
            settings, store=store, stripe=client, meter=meter, clock=clock, coordinator_host=HOST, pause=pause
        )
        yield World(store=store, peer=peer, clock=clock, meter=meter, payments=payments, pauses=pauses)
    finally:
        await client.aclose()
