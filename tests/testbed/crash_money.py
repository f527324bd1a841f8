"""The operations on a request's money, as scenarios of the crash test."""

from __future__ import annotations

from typing import cast

from server.billing import holds
from server.billing.hold_desk import Exemption, HoldRequest, Serving
from server.billing.prices import Price, Tariff
from server.billing.service import Billing, make_billing
from server.relay.settlement import BilledUsage, Outcome, SettlementRecord
from server.store.engine import Store
from tests.testbed.books import LIFETIME, START, Books
from tests.testbed.crash import CrashScenario

CREDITS = 1_000_000
COST = 115
"""Of 900 prompt and 350 completion tokens at the fallback price."""


def _billing(store: Store, now: int = START) -> Billing:
    return make_billing(
        store, Tariff(), wall_clock=lambda: now, instance_id="victim", is_known_model=lambda model: True
    )


def _record(request: str, account: str = "c", *, usage: bool = True) -> SettlementRecord:
    return SettlementRecord(
        coord_request_id=request,
        job_id="job",
        account_id=account,
        key_id=None,
        public_model="model",
        build="build",
        session_id="s",
        provider_id="machine",
        provider_account_id="o",
        stream=True,
        outcome=Outcome.SUCCESS if usage else Outcome.PROVIDER_ERROR,
        status=200 if usage else 502,
        usage=BilledUsage(prompt_tokens=900, completion_tokens=350) if usage else None,
        delivered_deltas=350,
        delivered_text_bytes=1000,
        max_tokens=8192,
        attempts=1,
        started_at=0.0,
        ended_at=1.0,
        segments=None,
    )


async def _fund(store: Store) -> None:
    books = Books(store)
    await books.grant("c", credit=CREDITS // 2, earned=CREDITS // 2)
    await books.user("o", fee=10)
    await books.refer("c", "friend")


async def _fund_and_hold(store: Store) -> None:
    await _fund(store)
    await Books(store).hold("r", "c", 1838)


async def _fund_and_price(store: Store) -> None:
    await _fund(store)
    await _billing(store).prices.set_own_price("o", "build", Price(150_000, 600_000))


async def _next_request(store: Store) -> str:
    """A name for a request that no earlier run used: a client that tries again gets a new one."""
    rows = await Books(store).rows("SELECT (SELECT COUNT(*) FROM reservations) + (SELECT COUNT(*) FROM usage) AS count")
    return f"request-{rows[0]['count']}"


async def _open(
    billing: Billing, request: str, account: str = "c", exempt: Exemption = "none", owner: str = "o"
) -> None:
    hold = await billing.desk.open_hold(
        HoldRequest(
            request_id=request, account_id=account, model="build", prompt_tokens=4000, max_tokens=8192, exempt=exempt
        )
    )
    assert await billing.desk.raise_for_provider(hold, Serving(account_id=owner, provider_key="key", model="build"))


async def _hold(store: Store) -> None:
    await _open(_billing(store), await _next_request(store))


async def _release(store: Store) -> None:
    await store.write(lambda tx: holds.release(tx, "r", "unused", START))


async def _settle(store: Store) -> None:
    await _billing(store).settlement.settle(_record("r"))


async def _whole_request(store: Store) -> None:
    billing, request = _billing(store), await _next_request(store)
    await _open(billing, request)
    await billing.settlement.settle(_record(request))


async def _failed_request(store: Store) -> None:
    billing, request = _billing(store), await _next_request(store)
    await _open(billing, request)
    await billing.settlement.settle(_record(request, usage=False))


async def _covered_request(store: Store) -> None:
    billing = _billing(store)
    await _open(billing, "covered", "admin", "covered")
    await billing.settlement.settle(_record("covered", "admin"))


async def _own_machine(store: Store) -> None:
    billing = _billing(store)
    await _open(billing, "own", "o", "self", "o")
    await billing.settlement.settle(_record("own", "o"))


async def _resize(store: Store) -> None:
    billing, request = _billing(store), await _next_request(store)
    await _open(billing, request)  # the machine's own price raises the hold
    hold = billing.desk.find(request)
    assert hold is not None
    await billing.desk.lower(hold)


async def _sweep(store: Store) -> None:
    await _billing(store, START + LIFETIME + 1).sweeper.turn()


async def _restart(store: Store) -> None:
    """What a coordinator does at its start; on PostgreSQL the holds of the dead one expire some time later."""
    await _billing(store).recover()
    if store.kind == "postgres":
        # The lock of the dead coordinator's sweeper is over by then, too.
        await _billing(store, START + 2 * LIFETIME).sweeper.turn()


async def _go_on(store: Store) -> None:
    """Nothing: the process lives and only lost the answer."""


async def _sound(store: Store) -> list[dict[str, object]]:
    """Perfect books, and what was charged for."""
    books = Books(store)
    assert await books.problems() == []
    return await books.rows("SELECT request_id, account_id, cost_micro_usd FROM usage ORDER BY id")


async def _all_or_nothing(store: Store) -> None:
    """No hold is open; the consumer paid for exactly what is in the usage, and the shares went where they belong."""
    books = Books(store)
    usage = await _sound(store)
    paid = sum(cast(int, row["cost_micro_usd"]) for row in usage if row["account_id"] == "c")
    assert await books.balance("c") == (CREDITS - paid, min(CREDITS // 2, CREDITS - paid), 0, 0)
    assert len({row["request_id"] for row in usage}) == len(usage)


async def _books_are_sound(store: Store) -> None:
    await _sound(store)


async def _paid_once(store: Store) -> None:
    books = Books(store)
    assert [row["cost_micro_usd"] for row in await _sound(store)] == [COST]
    assert await books.balance("c") == (CREDITS - COST, CREDITS // 2, 0, 0)
    assert (await books.balance("o")).balance == COST - COST // 10
    assert (await books.balance("friend")).balance == COST // 10 * 20 // 100


async def _paid_at_most_once(store: Store) -> None:
    """The restart may have given the hold back before the settlement came again: then nothing is paid."""
    await _all_or_nothing(store)
    assert len(await Books(store).rows("SELECT * FROM usage")) <= 1


async def _held_once(store: Store) -> None:
    await _sound(store)
    assert (await Books(store).balance("c")).held == 1838


async def _nothing_held(store: Store) -> None:
    await _sound(store)
    assert await Books(store).balance("c") == (CREDITS, CREDITS // 2, 0, 0)


async def _last_request_paid(store: Store) -> None:
    await _all_or_nothing(store)
    assert 1 <= len(await Books(store).rows("SELECT * FROM usage")) <= 2


async def _platform_paid_once(store: Store) -> None:
    books = Books(store)
    assert [row["cost_micro_usd"] for row in await _sound(store)] == [0]
    assert (await books.balance("o")).balance == COST - COST // 10
    assert await books.balance("c") == (CREDITS, CREDITS // 2, 0, 0)


async def _used_once_for_free(store: Store) -> None:
    books = Books(store)
    assert [row["cost_micro_usd"] for row in await _sound(store)] == [0]
    assert (await books.balance("o")).balance == 0


hold = CrashScenario(prepare=_fund, run=_hold, recover=_restart, check=_nothing_held, check_end=_held_once)
release = CrashScenario(
    prepare=_fund_and_hold, run=_release, recover=_go_on, check=_books_are_sound, check_end=_nothing_held
)
settle_again = CrashScenario(
    prepare=_fund_and_hold, run=_settle, recover=_go_on, check=_books_are_sound, check_end=_paid_once
)
settle_after_restart = CrashScenario(
    prepare=_fund_and_hold, run=_settle, recover=_restart, check=_all_or_nothing, check_end=_paid_at_most_once
)
whole_request = CrashScenario(
    prepare=_fund, run=_whole_request, recover=_restart, check=_all_or_nothing, check_end=_last_request_paid
)
failed_request = CrashScenario(
    prepare=_fund, run=_failed_request, recover=_restart, check=_nothing_held, check_end=_nothing_held
)
covered_request = CrashScenario(
    prepare=_fund, run=_covered_request, recover=_restart, check=_books_are_sound, check_end=_platform_paid_once
)
own_machine = CrashScenario(
    prepare=_fund, run=_own_machine, recover=_restart, check=_books_are_sound, check_end=_used_once_for_free
)
raise_and_lower = CrashScenario(
    prepare=_fund_and_price, run=_resize, recover=_restart, check=_nothing_held, check_end=_held_once
)
sweep = CrashScenario(
    prepare=_fund_and_hold, run=_sweep, recover=_go_on, check=_books_are_sound, check_end=_nothing_held
)
