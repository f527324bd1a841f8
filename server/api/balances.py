"""What an account has: `/v1/payments/balance`, and the summary of a machine owner, `/v1/me/summary`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

from quart import Blueprint

from server.api.gate import answer_store_outage, private_answer
from server.billing.amounts import usd6
from server.billing.leaderboard import period_start
from server.billing.ledger import read_balance
from server.billing.reads import earned_since, earnings_total
from server.payments.payees import read_payee

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.api.deposits import PaymentGate
    from server.billing.balance import Balance
    from server.billing.reads import EarningsTotal
    from server.store import Store, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineCounts:
    """How many machines an account has, by their state; a machine may be in several."""

    total: int = 0
    online: int = 0
    serving: int = 0
    offline: int = 0
    untrusted: int = 0
    hardware: int = 0
    needs_attention: int = 0


class OwnedMachines(Protocol):
    """What the fleet says about one account's machines."""

    async def counts(self, account_id: str) -> MachineCounts:
        """Count the machines of an account; raises StoreUnavailable."""

    @property
    def latest_version(self) -> str:
        """The newest version of the machine's program; empty when none is known."""

    @property
    def min_version(self) -> str:
        """The oldest version that is served; empty when there is no such limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceServices:
    """What the endpoints work with; `wall_clock` gives microseconds."""

    gate: PaymentGate
    store: Store
    machines: OwnedMachines
    wall_clock: Callable[[], int]


@dataclass(frozen=True, slots=True)
class _Standing:
    balance: Balance
    payout_ready: bool
    lifetime: EarningsTotal
    day: EarningsTotal
    week: EarningsTotal


def balances_blueprint(services: BalanceServices) -> Blueprint:
    """Serve balances: any key reads its account's, the summary is for a signed-in person."""
    blueprint = Blueprint("balances", __name__)
    answer_store_outage(blueprint)

    @blueprint.get("/v1/payments/balance")
    async def balance() -> Response:
        caller = await services.gate.caller()
        found = await services.store.read(lambda tx: read_balance(tx, caller.account_id))
        return private_answer(
            {
                "balance_micro_usd": found.free,
                "balance_usd": usd6(found.free),
                "withdrawable_micro_usd": found.free_withdrawable,
                "withdrawable_usd": usd6(found.free_withdrawable),
            }
        )

    @blueprint.get("/v1/me/summary")
    async def summary() -> Response:
        person = await services.gate.person()
        now = services.wall_clock()
        standing = await services.store.read(lambda tx: _standing(tx, person.account_id, now))
        counts = await services.machines.counts(person.account_id)
        return private_answer(
            {
                "account_id": person.account_id,
                "available_balance_micro_usd": standing.balance.free,
                "withdrawable_balance_micro_usd": standing.balance.free_withdrawable,
                "payout_ready": standing.payout_ready,
                "lifetime_micro_usd": standing.lifetime.amount,
                "lifetime_jobs": standing.lifetime.count,
                "last_24h_micro_usd": standing.day.amount,
                "last_24h_jobs": standing.day.count,
                "last_7d_micro_usd": standing.week.amount,
                "last_7d_jobs": standing.week.count,
                "counts": asdict(counts),
                "latest_provider_version": services.machines.latest_version,
                "min_provider_version": services.machines.min_version,
            }
        )

    return blueprint


async def _standing(tx: Tx, account_id: str, now: int) -> _Standing:
    payee = await read_payee(tx, account_id)
    return _Standing(
        balance=await read_balance(tx, account_id),
        payout_ready=payee is not None and payee.status == "ready",
        lifetime=await earnings_total(tx, account_id, "account"),
        day=await earned_since(tx, account_id, period_start("24h", now)),
        week=await earned_since(tx, account_id, period_start("7d", now)),
    )
