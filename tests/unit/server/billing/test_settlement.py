"""The settlement hook: from the relay's record to the books."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from server.billing.hold_desk import HoldRequest, Serving
from server.billing.prices import Price, Tokens
from server.billing.settlement import billable
from server.relay.settlement import BilledUsage, Outcome, SettlementRecord
from server.store.errors import Invalid

if TYPE_CHECKING:
    from tests.unit.server.billing.conftest import Desk

USAGE = BilledUsage(prompt_tokens=900, completion_tokens=350)


def record(request: str = "r", usage: BilledUsage | None = USAGE, **changes: object) -> SettlementRecord:
    """A request of account `c`, served by a machine of `o`."""
    values: dict[str, object] = {
        "coord_request_id": request,
        "job_id": "job",
        "account_id": "c",
        "key_id": "k",
        "public_model": "model",
        "build": "build",
        "session_id": "s",
        "provider_id": "machine",
        "provider_account_id": "o",
        "stream": True,
        "outcome": Outcome.SUCCESS if usage is not None else Outcome.PROVIDER_ERROR,
        "status": 200 if usage is not None else 502,
        "usage": usage,
        "delivered_deltas": 350,
        "delivered_text_bytes": 1000,
        "max_tokens": 8192,
        "attempts": 1,
        "started_at": 0.0,
        "ended_at": 1.0,
        "segments": None,
    }
    return SettlementRecord(**(values | changes))  # type: ignore[arg-type]


def request(request_id: str = "r", **changes: object) -> HoldRequest:
    """What the API asks a hold for."""
    values: dict[str, object] = {
        "request_id": request_id,
        "account_id": "c",
        "model": "build",
        "prompt_tokens": 4000,
        "max_tokens": 8192,
        "key_id": "k",
    }
    return HoldRequest(**(values | changes))  # type: ignore[arg-type]


async def _dispatched(desk: Desk, request_id: str = "r", *, owner: str | None = "o", **changes: object) -> None:
    hold = await desk.billing.desk.open_hold(request(request_id, **changes))
    serving = Serving(account_id=owner, provider_key="machine-key", model="build")
    assert await desk.billing.desk.raise_for_provider(hold, serving)


async def _drain(desk: Desk) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.billing.queue.run)
        while len(desk.billing.queue):
            await trio.sleep(0.001)
        nursery.cancel_scope.cancel()


async def test_a_completed_request_is_charged_and_paid(desk: Desk) -> None:
    await desk.books.grant("c", credit=1_000_000)
    await _dispatched(desk)
    await desk.billing.settlement.settle(record())
    assert await desk.books.balance("c") == (999_885, 0, 0, 0)
    assert await desk.books.balance("o") == (115, 115, 0, 0)
    [usage] = await desk.books.rows("SELECT job_id, key_id, public_model, provider_id FROM usage")
    assert tuple(usage.values()) == ("job", "k", "model", "machine")
    [earning] = await desk.books.rows("SELECT provider_key FROM provider_earnings")
    assert earning["provider_key"] == "machine-key"
    assert desk.billing.desk.find("r") is None
    assert [result.cost for result in desk.heard.settlements] == [115]


async def test_a_request_without_usage_gets_its_hold_back(desk: Desk) -> None:
    await desk.books.grant("c", credit=1_000_000)
    await _dispatched(desk)
    await desk.billing.settlement.settle(record(usage=None))
    assert await desk.books.balance("c") == (1_000_000, 0, 0, 0)
    assert await desk.books.rows("SELECT * FROM usage") == []
    assert desk.billing.desk.find("r") is None
    await desk.billing.settlement.settle(record(usage=None))
    await desk.billing.settlement.settle(record())  # a completion that comes after the release
    assert await desk.books.balance("c") == (1_000_000, 0, 0, 0)


async def test_the_frozen_price_counts(desk: Desk) -> None:
    await desk.books.grant("c", credit=1_000_000)
    await _dispatched(desk)
    await desk.platform_price("build", Price(500_000, 2_000_000))
    await desk.billing.settlement.settle(record())
    assert (await desk.books.balance("c")).balance == 999_885


async def test_a_provider_price_is_charged_and_paid(desk: Desk) -> None:
    await desk.books.grant("c", credit=1_000_000)
    await desk.billing.prices.set_own_price("o", "build", Price(100_000, 400_000))
    await _dispatched(desk)
    await desk.billing.settlement.settle(record())
    assert (await desk.books.balance("o")).balance == 230


async def test_a_service_account_pays_no_minimum(desk: Desk) -> None:
    await desk.books.grant("c", credit=1_000_000)
    small = BilledUsage(prompt_tokens=10, completion_tokens=5)
    await _dispatched(desk, "r1", service=True)
    await desk.billing.settlement.settle(record("r1", small))
    await _dispatched(desk, "r2")
    await desk.billing.settlement.settle(record("r2", small))
    rows = await desk.books.rows("SELECT cost_micro_usd FROM usage ORDER BY id")
    assert [row["cost_micro_usd"] for row in rows] == [1, 100]


async def test_cached_tokens_cost_less(desk: Desk) -> None:
    await desk.books.grant("c", credit=1_000_000)
    await desk.platform_price("build", Price(30_000, 165_000))
    await _dispatched(desk)
    usage = BilledUsage(prompt_tokens=10_000, completion_tokens=200, cached_tokens=8_000)
    await desk.billing.settlement.settle(record(usage=usage))
    assert (await desk.books.balance("o")).balance == 213
    assert desk.heard.discounts == [120]


async def test_self_route_and_covered_accounts(desk: Desk) -> None:
    await _dispatched(desk, "own", owner="c", exempt="self")
    await desk.billing.settlement.settle(record("own", provider_account_id="c"))
    hold = await desk.billing.desk.open_hold(request("cov", account_id="admin", exempt="covered"))
    await desk.billing.desk.raise_for_provider(hold, Serving(account_id="o", provider_key="m", model="build"))
    await desk.billing.settlement.settle(record("cov", account_id="admin", key_id=None))
    assert await desk.books.entries("c") == []
    assert await desk.books.entries("platform") == [("platform", "covered_usage", -115, 0)]
    rows = await desk.books.rows("SELECT request_id, private, cost_micro_usd FROM usage ORDER BY id")
    assert [tuple(row.values()) for row in rows] == [("own", 1, 0), ("cov", 0, 0)]
    await desk.billing.totals.flush()
    [totals] = await desk.books.rows("SELECT total_requests, total_prompt_tokens FROM usage_totals")
    assert tuple(totals.values()) == (1, 900)


async def test_prefer_on_a_public_machine_pays_the_full_price(desk: Desk) -> None:
    await desk.books.grant("c", credit=1_000_000)
    await _dispatched(desk, "r1", owner="c")
    await desk.billing.settlement.settle(record("r1", provider_account_id="c"))
    await _dispatched(desk, "r2")
    await desk.billing.settlement.settle(record("r2"))
    assert (await desk.books.balance("c")).balance == 999_885


async def test_a_foreign_machine_under_self_route_is_never_paid_from_nothing(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    await _dispatched(desk, exempt="self")
    await desk.billing.settlement.settle(record())
    assert await desk.books.entries() == []
    assert "usage_without_hold" in caplog.text
    [usage] = await desk.books.rows("SELECT cost_micro_usd, private FROM usage")
    assert tuple(usage.values()) == (0, 0)


async def test_fifty_copies_of_one_record_have_one_effect(desk: Desk) -> None:
    await desk.books.grant("c", credit=1_000_000)
    await _dispatched(desk)
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(desk.billing.settlement.settle, record())
    assert (await desk.books.balance("c")).balance == 999_885
    assert sum(result.fresh for result in desk.heard.settlements) == 1
    await desk.billing.totals.flush()
    [totals] = await desk.books.rows("SELECT total_requests FROM usage_totals")
    assert totals["total_requests"] == 1


async def test_a_settlement_waits_for_the_database(desk: Desk) -> None:
    await desk.books.grant("c", credit=1_000_000)
    await _dispatched(desk)
    desk.store.down = True
    await desk.billing.settlement.settle(record())
    assert (len(desk.billing.queue), desk.heard.depths) == (1, [1])
    assert desk.billing.desk.find("r") is not None  # so that its hold is extended meanwhile
    desk.store.down = False
    assert (await desk.books.balance("c")).held == 1838
    await _drain(desk)
    assert await desk.books.balance("c") == (999_885, 0, 0, 0)
    assert desk.billing.desk.find("r") is None


async def test_a_lost_answer_of_a_settlement_is_found_out(desk: Desk) -> None:
    await desk.books.grant("c", credit=1_000_000)
    await _dispatched(desk)
    desk.store.lose_answers = 1
    await desk.billing.settlement.settle(record())
    assert (await desk.books.balance("c")).balance == 999_885
    await _drain(desk)
    assert (await desk.books.balance("c")).balance == 999_885
    assert desk.billing.desk.find("r") is None


async def test_a_cancelled_settlement_is_done_all_the_same(desk: Desk) -> None:
    await desk.books.grant("c", credit=1_000_000)
    for n in range(8):
        await _dispatched(desk, f"r{n}")
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(desk.billing.settlement.settle, record(f"r{n}"))
                for _ in range(n):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        await _drain(desk)
        if n:
            assert (await desk.books.balance("c")).held == 0
        else:  # cancelled before it began: the relay shields it, and expiry is the last resort
            await desk.billing.settlement.settle(record("r0"))
    assert (await desk.books.balance("c")).balance == 1_000_000 - 8 * 115


@pytest.mark.parametrize("usage", [USAGE, None])
async def test_what_was_cancelled_while_it_waited_is_done_later(desk: Desk, usage: BilledUsage | None) -> None:
    await desk.books.grant("c", credit=1_000_000)
    await _dispatched(desk)
    desk.store.stuck = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.billing.settlement.settle, record(usage=usage))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert (await desk.books.balance("c")).held == 1838
    desk.store.stuck = False
    await _drain(desk)
    assert await desk.books.balance("c") == (999_885 if usage else 1_000_000, 0, 0, 0)
    assert desk.billing.desk.find("r") is None


async def test_what_can_never_be_settled_is_raised_and_left_to_expire(desk: Desk) -> None:
    await desk.books.grant("c", credit=1_000_000)
    await desk.books.grant("o", credit=2**53 - 1)
    await _dispatched(desk)
    with pytest.raises(Invalid):
        await desk.billing.settlement.settle(record())
    assert (await desk.books.balance("c")).held == 1838
    assert desk.billing.desk.find("r") is None


async def test_usage_without_an_account_is_told_and_not_charged(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    await desk.billing.settlement.settle(record(account_id=None))
    assert "usage_without_account" in caplog.text
    assert await desk.books.rows("SELECT * FROM usage") == []


@pytest.mark.parametrize(
    ("usage", "deltas", "tokens", "guessed"),
    [
        (BilledUsage(prompt_tokens=0, completion_tokens=0), 0, Tokens(0, 0, 0), False),
        (BilledUsage(prompt_tokens=0, completion_tokens=0), 7, Tokens(0, 0, 7), True),
        (BilledUsage(prompt_tokens=9, completion_tokens=0), 500, Tokens(9, 0, 100), True),
        (BilledUsage(prompt_tokens=9, completion_tokens=3), 500, Tokens(9, 0, 3), False),
        (BilledUsage(prompt_tokens=9, completion_tokens=3, cached_tokens=9), 3, Tokens(9, 9, 3), False),
        (BilledUsage(prompt_tokens=9, completion_tokens=3, cached_tokens=10), 3, Tokens(9, 0, 3), False),
        (BilledUsage(prompt_tokens=9, completion_tokens=3, cached_tokens=-1), 3, Tokens(9, 0, 3), False),
    ],
)
def test_what_is_charged_for(usage: BilledUsage, deltas: int, tokens: Tokens, guessed: bool) -> None:
    assert billable(usage, delivered_deltas=deltas, max_tokens=100) == (tokens, guessed)


async def test_zero_usage_is_told(desk: Desk) -> None:
    await desk.books.grant("c", credit=1_000_000)
    none = BilledUsage(prompt_tokens=0, completion_tokens=0)
    await _dispatched(desk, "r1")
    await desk.billing.settlement.settle(record("r1", none, delivered_deltas=0))
    await _dispatched(desk, "r2")
    await desk.billing.settlement.settle(record("r2", none, delivered_deltas=700))
    assert desk.heard.zero_usages == 1
    rows = await desk.books.rows("SELECT completion_tokens, cost_micro_usd FROM usage ORDER BY id")
    assert [tuple(row.values()) for row in rows] == [(0, 0), (700, 140)]
