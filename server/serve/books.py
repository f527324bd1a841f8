"""Everything over the database: accounts, billing, payments, their endpoints and their background tasks.

Owner: `open_books` opens the store and closes it last; `Books.start` wants a nursery that outlives the relay, whose
last settlements still need the queue.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import trio

from server.accounts.changes import CHANNEL
from server.accounts.open import Accounts, open_accounts
from server.api.account_endpoints import account_blueprints, account_gate
from server.api.admin_endpoints import admin_blueprints
from server.api.auth import Door
from server.api.deposits import DepositServices, deposits_blueprint
from server.api.payouts import PayoutServices, payouts_blueprint
from server.api.stripe_webhooks import StripeWebhookServices, stripe_webhooks_blueprint
from server.billing.prices import Tariff
from server.billing.relay_funds import LedgerFunds
from server.billing.service import Billing, make_billing
from server.catalog import ModelBook
from server.catalog.file import read_aliases, read_catalog
from server.machines import MachineKeeper
from server.payments.open import Payments, open_payments
from server.payments.reconciler import run_reconciler
from server.serve.fleet_facts import FleetFacts
from server.serve.money_metrics import MoneyMetrics
from server.serve.rewards import Rewards, make_rewards
from server.serve.run_clock import run_clock
from server.store import Listening
from server.store.address import Memory, parse_address
from server.store.open import open_configured_store
from server.store.retention import retention_job

if TYPE_CHECKING:
    from quart import Blueprint

    from server.config import CoordinatorSettings
    from server.observe import Metrics, Supervisor
    from server.registry import Registry
    from server.store import Store

_MICROSECONDS: Final = 1_000_000


def wall_clock() -> int:
    """Microseconds since the Unix epoch."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The parts of one coordinator that live in the database."""

    store: Store
    accounts: Accounts
    billing: Billing
    payments: Payments
    rewards: Rewards
    machines: MachineKeeper
    catalog: ModelBook
    door: Door
    funds: LedgerFunds
    instance_id: str
    throwaway: bool

    def start(self, nursery: trio.Nursery, supervisor: Supervisor) -> None:
        """Start the background tasks; the nursery must outlive the relay."""
        self.billing.start(nursery, supervisor)
        self.rewards.start(nursery, supervisor)
        supervisor.start(nursery, "machines", self.machines.run, restart="backoff")
        supervisor.start(nursery, "catalogue", self.catalog.run, restart="backoff")
        for name, task in self.accounts.tasks():
            supervisor.start(nursery, name, task, restart="backoff")
        if isinstance(self.store, Listening):
            changes = self.accounts.changes
            hear = partial(self.store.listen, CHANNEL, changes.heard, changes.missed)
            supervisor.start(nursery, "account_changes", hear, restart="backoff")
        prune = partial(
            retention_job, self.store, holder=self.instance_id, wall_clock=wall_clock, throwaway=self.throwaway
        )
        supervisor.start(nursery, "retention", prune, restart="backoff")
        if self.payments.payouts is not None and not self.payments.mock:
            # What was paid out in pretence never arrives, and would be reported for ever.
            reconcile = partial(
                run_reconciler,
                self.payments.payouts.reconciler,
                store=self.store,
                holder=self.instance_id,
                clock=wall_clock,
            )
            supervisor.start(nursery, "payout_reconciler", reconcile, restart="backoff")

    def blueprints(self, settings: CoordinatorSettings) -> list[Blueprint]:
        """Give the endpoints of accounts and payments."""
        gate = account_gate(self.accounts, settings)
        return [
            *account_blueprints(self.accounts, settings=settings, wall_clock=wall_clock),
            *self.rewards.blueprints(gate, self.accounts, settings),
            deposits_blueprint(
                DepositServices(
                    gate=gate,
                    deposits=self.payments.deposits,
                    store=self.store,
                    referral_share_percent=settings.referral_share_percent,
                )
            ),
            payouts_blueprint(PayoutServices(gate=gate, payouts=self.payments.payouts)),
            *admin_blueprints(
                self.accounts,
                store=self.store,
                book=self.billing.prices,
                settings=settings,
                clock=run_clock(),
                wall_clock=wall_clock,
            ),
            stripe_webhooks_blueprint(
                StripeWebhookServices(
                    deposit_hooks=self.payments.deposit_hooks, connect_hooks=self.payments.connect_hooks
                )
            ),
        ]


@asynccontextmanager
async def open_books(
    settings: CoordinatorSettings,
    *,
    metrics: Metrics,
    registry: Registry,
) -> AsyncGenerator[Books, None]:
    """Open the store and build what works on it; what a crash left open is given back before this yields.

    Raises StoreNotConfigured, StoreCannotOpen and CatalogUnusable.
    """
    meter = MoneyMetrics(metrics)
    instance_id = f"coord-{secrets.token_hex(8)}"
    async with (
        open_configured_store(settings, wall_clock=wall_clock) as store,
        open_accounts(
            settings,
            store,
            clock=run_clock(),
            wall_clock=wall_clock,
            on_rejected=meter.rejected,
            on_network_rejected=lambda _use: meter.rejected("network", "requests"),
        ) as accounts,
    ):
        billing = make_billing(
            store,
            tariff_of(settings),
            wall_clock=wall_clock,
            instance_id=instance_id,
            is_known_model=lambda model: registry.catalog.knows(model),
            observer=meter,
            reservation_seconds=settings.reservation_ttl,
        )
        await billing.recover()
        rewards = make_rewards(settings, store, FleetFacts(registry), wall_clock=wall_clock, instance_id=instance_id)
        await rewards.recover()
        machines = MachineKeeper(store, registry, wall_clock=wall_clock)
        await machines.recover()
        catalog = ModelBook(
            store,
            file_entries=read_catalog(settings.model_catalog),
            file_aliases=read_aliases(settings.model_catalog),
            on_change=lambda entries: registry.set_catalog(entries, trio.current_time()),
        )
        await catalog.refresh()
        async with open_payments(
            settings,
            store=store,
            meter=meter,
            clock=wall_clock,
            coordinator_host=_host_of(settings),
            referrals=rewards.referrals,
        ) as payments:
            gate = account_gate(accounts, settings)
            yield Books(
                store=store,
                accounts=accounts,
                billing=billing,
                payments=payments,
                rewards=rewards,
                machines=machines,
                catalog=catalog,
                door=Door(callers=accounts.callers, limiter=accounts.limiter, origins=gate.origins),
                funds=LedgerFunds(billing.desk),
                instance_id=instance_id,
                throwaway=is_throwaway(settings),
            )


def is_throwaway(settings: CoordinatorSettings) -> bool:
    """Whether the store lives in memory and ends with the process."""
    url = None if settings.database_url is None else settings.database_url.reveal()
    return isinstance(parse_address(url, allow_memory=True), Memory)


def tariff_of(settings: CoordinatorSettings) -> Tariff:
    """Read the rules for prices from the settings."""
    return Tariff(
        platform_fee_percent=settings.platform_fee_percent,
        referral_share_percent=settings.referral_share_percent,
        minimum_charge=settings.minimum_charge_micro,
        cache_read_discount_percent=settings.cache_read_discount_percent,
        max_price_multiple=settings.max_price_multiple,
    )


def _host_of(settings: CoordinatorSettings) -> str:
    return urlsplit(settings.base_url).netloc if settings.base_url else settings.host
