"""Random traces of economic events: model and engines agree after every step, and the books are perfect."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from server.billing import balance as maths
from server.billing.balance import EMPTY, Balance
from server.billing.ledger import COUNTER_ACCOUNTS
from server.billing.prices import Tariff
from server.store.dialect import EngineKind
from server.store.engine import Store
from server.store.errors import StoreUnavailable
from tests.testbed.books import Books
from tests.testbed.ledger_events import (
    ACCOUNTS,
    CAP,
    Deposit,
    Direct,
    Event,
    Grant,
    Hold,
    Paid,
    PayoutFails,
    Redeem,
    Release,
    Resize,
    Rotate,
    Settle,
    Sweep,
    TransferFails,
    Withdraw,
    key_name,
    play,
    prepare,
)
from tests.testbed.ledger_model import LedgerModel
from tests.testbed.needs import absent
from tests.testbed.postgres_server import NoServer
from tests.testbed.store import open_test_store

ENGINES = ("sqlite", "postgres")

accounts = st.sampled_from(ACCOUNTS)
owners = st.one_of(st.none(), accounts)
# Amounts of everyday size, and such at the bound of what can be stored.
amounts = st.one_of(st.integers(1, 10**6), st.integers(1, 2000), st.integers(2**53 - 10**6, 2**53 - 1))
small = st.integers(0, 5)
requests = st.integers(0, 11)

events: st.SearchStrategy[Event] = st.one_of(
    st.builds(Deposit, accounts, amounts, small),
    st.builds(Grant, accounts, amounts, st.booleans(), small),
    st.builds(Hold, requests, accounts, st.integers(0, 10**6), st.booleans()),
    st.builds(Hold, requests, accounts, st.integers(0, 10**5), st.booleans()),
    st.builds(Resize, requests, st.integers(0, 10**6), st.booleans()),
    st.builds(Settle, requests, st.integers(0, 3000), owners),
    st.builds(Settle, requests, st.integers(0, 1000), owners),
    st.builds(Direct, requests, accounts, st.integers(0, 10**6), owners),
    st.builds(Release, requests),
    st.builds(Sweep, st.sampled_from([0, 1, 10, 16, 600, 1500])),
    st.builds(Withdraw, accounts, st.integers(1, 10**6), small),
    st.builds(TransferFails, small),
    st.builds(PayoutFails, small),
    st.builds(Paid, small),
    st.builds(Redeem, accounts, st.integers(0, 1)),
    st.builds(Rotate, accounts, st.integers(1, 3)),
)


def traces(least: int, most: int) -> st.SearchStrategy[list[Event]]:
    """Traces that begin with some money for everybody."""
    start = [Grant(account, 400_000, n % 2 == 0, 100 + n) for n, account in enumerate(ACCOUNTS)]
    start += [Deposit(account, 300_000, 100 + n) for n, account in enumerate(ACCOUNTS)]
    return st.lists(events, min_size=least, max_size=most).map(lambda more: [*start, *more])


async def _state(books: Books) -> tuple[object, ...]:
    """Everything that money consists of, in one comparable value."""
    tables = (
        "SELECT account_id, balance_micro_usd, withdrawable_micro_usd, held_micro_usd, held_withdrawable_micro_usd"
        " FROM balances ORDER BY account_id",
        "SELECT request_id, state, amount_micro_usd, withdrawable_micro_usd, settled_cost_micro_usd FROM reservations"
        " ORDER BY request_id",
        "SELECT id, txn_id, account_id, amount_micro_usd, balance_after FROM ledger_entries ORDER BY id",
        "SELECT id, kind, reference FROM ledger_txns ORDER BY id",
        "SELECT request_id, cost_micro_usd FROM usage ORDER BY id",
        "SELECT id, status, refunded, fee_refunded FROM stripe_withdrawals ORDER BY id",
        "SELECT code, used_count FROM invite_codes ORDER BY code",
        "SELECT id, key_hash, revoked_at FROM api_keys ORDER BY id",
    )
    found: list[object] = []
    for sql in tables:
        found.append([tuple(row.values()) for row in await books.rows(sql)])
    return tuple(found)


def _of_model(model: LedgerModel) -> dict[str, Balance]:
    return {account: balance for account, balance in model.balances.items() if balance != EMPTY}


_MONEY = (
    "SELECT 'balance' AS kind, account_id AS name, '' AS state, balance_micro_usd AS a, withdrawable_micro_usd AS b,"
    " held_micro_usd AS c, held_withdrawable_micro_usd AS d FROM balances"
    " UNION ALL SELECT 'reservation', request_id, state, amount_micro_usd, withdrawable_micro_usd,"
    " settled_cost_micro_usd, 0 FROM reservations"
    " UNION ALL SELECT 'counter', account_id, '', CAST(SUM(amount_micro_usd) AS BIGINT), 0, 0, 0 FROM ledger_entries"
    f" WHERE account_id IN ({', '.join(repr(account) for account in sorted(COUNTER_ACCOUNTS))}) GROUP BY account_id"
    " UNION ALL SELECT 'key', id, owner_account_id, 0, 0, 0, 0 FROM api_keys WHERE revoked_at IS NULL"
)
"""One statement after each step: on PostgreSQL the way there and back is what a trace spends its time on."""


async def _agree(books: Books, model: LedgerModel) -> None:
    found: dict[str, dict[str, tuple[object, ...]]] = {"balance": {}, "reservation": {}, "counter": {}, "key": {}}
    for row in await books.rows(_MONEY):
        found[str(row["kind"])][str(row["name"])] = tuple(row[name] for name in ("state", "a", "b", "c", "d"))
    balances = {account: Balance(*row[1:]) for account, row in found["balance"].items()}  # type: ignore[arg-type]
    assert {account: balance for account, balance in balances.items() if balance != EMPTY} == _of_model(model)
    assert all(balance.is_sound() for balance in model.balances.values())
    assert {request: row[:4] for request, row in found["reservation"].items()} == {
        request: (row.state, row.amount, row.earned, row.cost) for request, row in model.reservations.items()
    }
    assert {account: row[1] for account, row in found["counter"].items() if row[1]} == {
        account: total for account, total in model.counters.items() if total
    }
    assert set(found["key"]) == {key_name(account, model.keys[account]) for account in ACCOUNTS}


async def _run(kind: EngineKind, trace: list[Event], fee: int, audit_every: int) -> None:
    """Play on model and store; every so many steps also audit the books and compare every row."""
    tariff = Tariff(platform_fee_percent=fee)
    async with open_test_store(kind) as store:
        books, model = Books(store, tariff=tariff), LedgerModel(tariff)
        await prepare(books)
        for step, event in enumerate(trace):
            expected, close = model.apply(event), step % audit_every == 0
            before = await _state(books) if close and expected != "done" else None
            assert await play(books, event) == expected, (step, event)
            await _agree(books, model)
            after = await _state(books) if close else None
            if close:
                assert await books.problems() == [], (step, event)
            if isinstance(event, Sweep):
                continue
            if before is not None:
                assert after == before, (step, event)  # refused or repeated: not a bit has changed
            # The same event again changes nothing, whatever it answers.
            await play(books, event)
            await _agree(books, model)
            if close:
                assert await _state(books) == after, (step, event)
        assert await books.problems() == []


def _play_trace(kind: EngineKind, trace: list[Event], fee: int, audit_every: int = 1) -> None:
    try:
        trio.run(partial(_run, kind, trace, fee, audit_every))
    except NoServer as problem:
        absent(problem)


@settings(max_examples=30)
@given(traces(1, 30), st.sampled_from([0, 5, 100]))
def test_traces_on_sqlite(trace: list[Event], fee: int) -> None:
    _play_trace("sqlite", trace, fee)


@settings(max_examples=5)
@given(traces(8, 20), st.sampled_from([0, 5, 100]))
def test_traces_on_postgresql(trace: list[Event], fee: int) -> None:
    _play_trace("postgres", trace, fee, audit_every=5)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ENGINES)
@settings(max_examples=200)
@given(trace=traces(60, 120), fee=st.sampled_from([0, 5, 20, 100]))
def test_long_traces(kind: EngineKind, trace: list[Event], fee: int) -> None:
    _play_trace(kind, trace, fee, audit_every=4 if kind == "sqlite" else 20)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, 1000)), max_size=12), st.randoms())
def test_any_order_in_which_nothing_is_refused_gives_the_same_balance(
    moves: list[tuple[bool, bool, int]], order: random.Random
) -> None:
    def run(sequence: list[tuple[bool, bool, int]]) -> Balance | None:
        current = EMPTY
        for is_credit, earned, amount in sequence:
            if is_credit:
                current = maths.credit(current, amount, earned=earned)
                continue
            charged = maths.capture(current, 0, 0, amount)
            if charged is None:
                return None
            current = charged[0]
        return current

    one = run(moves)
    shuffled = order.sample(moves, len(moves))
    other = run(shuffled)
    if one is not None and other is not None:
        assert one.balance == other.balance


class Crowd:
    """Sixteen tasks that play random events on the same accounts, some cancelled at random."""

    def __init__(self, store: Store, seed: int, steps: int) -> None:
        self.books = Books(store)
        self.random = random.Random(seed)
        self.steps = steps
        self.outcomes: dict[str, int] = {}

    def _event(self) -> Event:
        chance = self.random
        account, owner = chance.choice(ACCOUNTS), chance.choice([None, *ACCOUNTS])
        request = chance.randrange(40)
        match chance.randrange(8):
            case 0:
                return Deposit(account, chance.randrange(1, 50_000), chance.randrange(20))
            case 1 | 2 | 3:
                return Hold(request, account, chance.randrange(200_000), chance.random() < 0.5)
            case 4 | 5:
                return Settle(request, chance.randrange(1001), owner)
            case 6:
                return Release(request)
            case _:
                return chance.choice(
                    [
                        Resize(request, chance.randrange(200_000), chance.random() < 0.5),
                        Withdraw(account, chance.randrange(1, 50_000), chance.randrange(20)),
                        TransferFails(chance.randrange(20)),
                        PayoutFails(chance.randrange(20)),
                        Paid(chance.randrange(20)),
                        Redeem(account, chance.randrange(2)),
                        Rotate(account, chance.randrange(1, 4)),
                        Sweep(0),
                    ]
                )

    async def member(self) -> None:
        for _ in range(self.steps):
            event = self._event()
            for _ in range(self.random.randrange(3)):
                await trio.lowlevel.checkpoint()
            patience = self.random.choice([0, 0.0005, 0.005, 1, 1, 1])
            outcome = "cancelled"
            with trio.move_on_after(patience):
                ended = await self._play(event)
                # A write is shielded: a cancellation that came meanwhile is delivered here, after its effect.
                await trio.lowlevel.checkpoint()
                outcome = ended
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    async def _play(self, event: Event) -> str:
        try:
            return await play(self.books, event)
        except StoreUnavailable:
            # A computer that is too busy for the database's time limits: nothing of it happened, or all.
            return "unavailable"

    async def run(self) -> None:
        await prepare(self.books)
        for account in ACCOUNTS:
            await self.books.grant(account, credit=500_000, earned=300_000)
        async with trio.open_nursery() as nursery:
            for _ in range(16):
                nursery.start_soon(self.member)
        assert await self.books.problems() == []
        await self._check_caps()
        for row in await self.books.rows("SELECT request_id FROM reservations WHERE state = 'held'"):
            await self.books.release(str(row["request_id"]))
        assert await self.books.problems() == []
        assert await self.books.rows("SELECT account_id FROM balances WHERE held_micro_usd <> 0") == []

    async def effects(self) -> int:
        """How many holds and events there are; outcomes do not say it, because what was cancelled may have happened."""
        [row] = await self.books.rows(
            "SELECT (SELECT COUNT(*) FROM reservations) + (SELECT COUNT(*) FROM ledger_txns WHERE kind <> 'admin') AS n"
        )
        assert isinstance(row["n"], int)
        return row["n"]

    async def _check_caps(self) -> None:
        """No cost above its reservation was played, so that caps hold to the micro-USD; those of replaced keys too."""
        rows = await self.books.rows(
            "SELECT k.id, (SELECT CAST(COALESCE(SUM(cost_micro_usd), 0) AS BIGINT) FROM usage WHERE key_id = k.id)"
            " + (SELECT CAST(COALESCE(SUM(amount_micro_usd), 0) AS BIGINT) FROM reservations"
            " WHERE key_id = k.id AND state = 'held') AS committed FROM api_keys k"
        )
        assert len(rows) >= len(ACCOUNTS)
        for row in rows:
            committed = row["committed"]
            assert isinstance(committed, int)
            assert committed <= CAP.limit, row["id"]


async def _crowd(kind: EngineKind, path: Path, seed: int, steps: int) -> Crowd:
    """Let a crowd loose. SQLite is a file: a database in memory never waits, so that nobody would meet anybody."""
    try:
        async with open_test_store(kind, path if kind == "sqlite" else None) as store:
            crowd = Crowd(store, seed, steps)
            await crowd.run()
            assert await crowd.effects() > 20
            return crowd
    except NoServer as problem:
        absent(problem)


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_crowd_of_tasks_leaves_perfect_books(kind: EngineKind, seed: int, tmp_path: Path) -> None:
    crowd = await _crowd(kind, tmp_path / "books.db", seed, 12)
    assert crowd.outcomes["cancelled"] > 0


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ENGINES)
async def test_many_crowds_leave_perfect_books(kind: EngineKind, tmp_path: Path) -> None:
    for seed in range(100):
        await _crowd(kind, tmp_path / f"books-{seed}.db", 1000 + seed, 25)
