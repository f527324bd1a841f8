"""The audit finds what does not add up, and only that."""

from __future__ import annotations

import pytest

from server.billing.verify import CHECKS, verify
from server.store.engine import Store
from tests.testbed.books import Books


async def _busy_books(store: Store) -> Books:
    books = Books(store)
    await books.user("o", fee=10)
    await books.grant("c", credit=5000, earned=100)
    await books.refer("c", "friend")
    await books.hold("settled", "c", 1000)
    await books.settle("settled", "c", 213, owner="o")
    await books.hold("open", "c", 1000)
    await books.hold("released", "c", 10)
    await books.release("released")
    return books


async def test_perfect_books(store: Store) -> None:
    books = await _busy_books(store)
    report = await books.store.statistics(verify)
    assert report.is_sound
    assert (report.accounts, report.transactions, report.entries) == (3, 3, 8)
    assert (report.open_holds, report.held) == (1, 1000)


async def test_empty_books(store: Store) -> None:
    report = await store.statistics(verify)
    assert report.is_sound
    assert (report.accounts, report.entries, report.held) == (0, 0, 0)


_WITHDRAWAL = (
    "INSERT INTO stripe_withdrawals (id, account_id, stripe_account_id, amount_micro_usd, net_micro_usd, net_cents,"
    " method, status, refunded, created_at, updated_at) VALUES ('w', 'c', 'acct', 100, 100, 0, 'standard', '{status}',"
    " 0, 1, 1)"
)
_TXN = "INSERT INTO ledger_txns (kind, reference, created_at) VALUES ('{kind}', '{reference}', 1)"
_PLANTED = {
    "A1": ["UPDATE ledger_entries SET amount_micro_usd = amount_micro_usd + 1 WHERE entry_type = 'platform_fee'"],
    "A2 balance": ["UPDATE balances SET balance_micro_usd = balance_micro_usd + 1 WHERE account_id = 'c'"],
    "A2 withdrawable": [
        "UPDATE balances SET withdrawable_micro_usd = withdrawable_micro_usd - 1 WHERE account_id = 'o'"
    ],
    "A2 every account": ["DELETE FROM balances WHERE account_id = 'friend'"],
    "A2 counter-accounts": ["INSERT INTO balances (account_id, updated_at) VALUES ('platform', 1)"],
    "A3 held": ["UPDATE reservations SET amount_micro_usd = 999 WHERE request_id = 'open'"],
    "A3 open": ["UPDATE reservations SET account_id = 'ghost' WHERE request_id = 'open'"],
    "A5": ["UPDATE ledger_entries SET balance_after = balance_after - 1 WHERE entry_type = 'charge'"],
    "A6 a settled": ["DELETE FROM usage WHERE request_id = 'settled'"],
    "A6 what was not": ["UPDATE reservations SET state = 'released' WHERE request_id = 'settled'"],
    "A6 a settle transaction": ["DELETE FROM usage WHERE request_id = 'settled'"],
    "A6 earnings": ["UPDATE provider_earnings SET amount_micro_usd = 1"],
    "A7 a charge": ["UPDATE reservations SET amount_micro_usd = 100 WHERE request_id = 'settled'"],
    "A7 the charge": ["UPDATE usage SET cost_micro_usd = 212"],
    "A7 the settled cost": ["UPDATE reservations SET settled_cost_micro_usd = 212 WHERE request_id = 'settled'"],
    "A8": ["UPDATE ledger_entries SET withdrawable_delta_micro_usd = 1 WHERE entry_type = 'admin_credit'"],
    "A9 a withdrawal is": [
        _WITHDRAWAL.format(status="failed"),
        _TXN.format(kind="withdraw_refund", reference="stripe_withdraw:w"),
        "INSERT INTO ledger_entries (txn_id, account_id, entry_type, amount_micro_usd, created_at)"
        " SELECT id, 'c', 'refund', 101, 1 FROM ledger_txns WHERE kind = 'withdraw_refund'",
    ],
    "A9 a paid": [
        _WITHDRAWAL.format(status="paid"),
        _TXN.format(kind="withdraw_refund", reference="stripe_withdraw:w"),
    ],
    "A9 a withdrawal was": [_WITHDRAWAL.format(status="pending")],
    "A10": [
        "INSERT INTO billing_sessions (id, account_id, payment_method, amount_micro_usd, external_id, status,"
        " created_at)"
        " VALUES ('s', 'c', 'stripe', 500, 'cs_1', 'completed', 1)"
    ],
    "A11 an invite": [
        "INSERT INTO invite_codes (code, amount_micro_usd, max_uses, used_count, created_at) VALUES ('I', 5, 2, 1, 1)"
    ],
    "A11 every": [
        "INSERT INTO invite_codes (code, amount_micro_usd, max_uses, used_count, created_at) VALUES ('I', 5, 2, 1, 1)",
        "INSERT INTO invite_redemptions (code, account_id, created_at) VALUES ('I', 'c', 1)",
    ],
    "A12": [
        "INSERT INTO provider_floor_draws (provider_key, account_id, epoch_id, amount_micro_usd, floor_micro_usd,"
        " earned_micro_usd, uptime_frac, memory_gb, created_at) VALUES ('key', 'o', 'e', 5, 5, 0, 0.5, 64, 1)"
    ],
    "summaries": ["UPDATE earnings_summary SET total_micro_usd = 1 WHERE key_type = 'account'"],
}


@pytest.mark.parametrize("rule", _PLANTED)
async def test_a_planted_fault_is_found(store: Store, rule: str) -> None:
    books = await _busy_books(store)
    for statement in _PLANTED[rule]:
        await books.run(statement)
    found = (await store.statistics(verify)).problems
    assert any(problem.rule.startswith(rule) for problem in found), [str(problem) for problem in found]


def test_every_check_but_the_one_that_the_schema_keeps_has_a_planted_fault() -> None:
    assert {rule for rule in CHECKS if not any(rule.startswith(planted) for planted in _PLANTED)} == {
        "A4 balances are sound"
    }


async def test_a_problem_says_what_differs(store: Store) -> None:
    books = await _busy_books(store)
    await books.run("UPDATE balances SET balance_micro_usd = balance_micro_usd + 5 WHERE account_id = 'c'")
    [problem] = (await store.statistics(verify)).problems
    assert str(problem) == "A2 balance is the sum of the entries c: found 4892, expected 4887"
