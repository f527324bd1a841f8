"""Audit of the books: recomputes every balance from the ledger entries and says what differs.

Each check is one statement, so that it sees one moment even while settlements go on. Amounts are micro-USD. A check
lists at most 100 differences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from server.billing.ledger import COUNTER_ACCOUNTS

if TYPE_CHECKING:
    from server.store.engine import Tx

MAX_PROBLEMS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One difference: which rule, whose row, what is there and what should be."""

    rule: str
    subject: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.rule} {self.subject}: found {self.found}, expected {self.expected}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerReport:
    """What an audit looked at and what it found; no problems mean perfect books. `total` is the sum of all entries."""

    accounts: int
    transactions: int
    entries: int
    total: int
    open_holds: int
    held: int
    problems: tuple[Problem, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing differs."""
        return not self.problems


async def verify(tx: Tx) -> LedgerReport:
    """Run all checks; use `Store.statistics`, because each reads whole tables."""
    problems: list[Problem] = []
    for rule, sql in CHECKS.items():
        rows = await tx.fetch(f"{sql} LIMIT {MAX_PROBLEMS}")
        problems += [
            Problem(rule=rule, subject=str(row["subject"]), found=str(row["found"]), expected=str(row["expected"]))
            for row in rows
        ]
    counts = await tx.row(_COUNTS)
    if counts is None:
        raise AssertionError("A SELECT without FROM has one row.")
    return LedgerReport(
        accounts=cast(int, counts["accounts"]),
        transactions=cast(int, counts["transactions"]),
        entries=cast(int, counts["entries"]),
        total=cast(int, counts["total"]),
        open_holds=cast(int, counts["open_holds"]),
        held=cast(int, counts["held"]),
        problems=tuple(problems),
    )


_COUNTS: Final = (
    "SELECT (SELECT COUNT(*) FROM balances) AS accounts, (SELECT COUNT(*) FROM ledger_txns) AS transactions,"
    " (SELECT COUNT(*) FROM ledger_entries) AS entries,"
    " (SELECT CAST(COALESCE(SUM(amount_micro_usd), 0) AS BIGINT) FROM ledger_entries) AS total,"
    " (SELECT COUNT(*) FROM reservations WHERE state = 'held') AS open_holds,"
    " (SELECT CAST(COALESCE(SUM(held_micro_usd), 0) AS BIGINT) FROM balances) AS held"
)

_COUNTERS: Final = ", ".join(f"'{account}'" for account in sorted(COUNTER_ACCOUNTS))


def _sum(column: str) -> str:
    return f"CAST(COALESCE(SUM({column}), 0) AS BIGINT)"


def _text(expression: str) -> str:
    return f"CAST({expression} AS TEXT)"


def _posted(kind: str, entry_type: str, *, sign: str = "") -> str:
    """Per reference, what the entries of a type moved; the other side may have the same type on a counter-account."""
    return (
        f"(SELECT t.reference, {_sum(f'{sign}l.amount_micro_usd')} AS total FROM ledger_entries l"
        f" JOIN ledger_txns t ON t.id = l.txn_id WHERE t.kind = '{kind}' AND l.entry_type = '{entry_type}'"
        f" AND l.account_id NOT IN ({_COUNTERS}) GROUP BY t.reference)"
    )


_AMOUNT: Final = _sum("amount_micro_usd")
_EARNED: Final = _sum("withdrawable_delta_micro_usd")

CHECKS: Final[Mapping[str, str]] = {
    "A1 all entries sum to zero": (
        f"SELECT 'ledger' AS subject, {_text(_AMOUNT)} AS found, '0' AS expected FROM ledger_entries"
        f" HAVING {_AMOUNT} <> 0"
    ),
    "A1 each transaction sums to zero": (
        f"SELECT {_text('txn_id')} AS subject, {_text(_AMOUNT)} AS found, '0' AS expected"
        f" FROM ledger_entries GROUP BY txn_id HAVING {_AMOUNT} <> 0"
    ),
    "A2 balance is the sum of the entries": (
        f"SELECT b.account_id AS subject, {_text('b.balance_micro_usd')} AS found,"
        f" {_text('COALESCE(e.total, 0)')} AS expected FROM balances b LEFT JOIN"
        f" (SELECT account_id, {_AMOUNT} AS total FROM ledger_entries GROUP BY account_id) e"
        " ON e.account_id = b.account_id WHERE b.balance_micro_usd <> COALESCE(e.total, 0)"
    ),
    "A2 withdrawable is the sum of the earned parts": (
        f"SELECT b.account_id AS subject, {_text('b.withdrawable_micro_usd')} AS found,"
        f" {_text('COALESCE(e.total, 0)')} AS expected FROM balances b LEFT JOIN"
        f" (SELECT account_id, {_EARNED} AS total FROM ledger_entries GROUP BY account_id) e"
        " ON e.account_id = b.account_id WHERE b.withdrawable_micro_usd <> COALESCE(e.total, 0)"
    ),
    "A2 every account with entries has a balance": (
        "SELECT e.account_id AS subject, 'no row' AS found, 'a balances row' AS expected FROM ledger_entries e"
        f" LEFT JOIN balances b ON b.account_id = e.account_id WHERE b.account_id IS NULL"
        f" AND e.account_id NOT IN ({_COUNTERS}) GROUP BY e.account_id"
    ),
    "A2 counter-accounts have no balance": (
        "SELECT account_id AS subject, 'a balances row' AS found, 'none' AS expected FROM balances"
        f" WHERE account_id IN ({_COUNTERS})"
    ),
    "A3 held is the sum of the open reservations": (
        "SELECT b.account_id AS subject,"
        f" {_text('b.held_micro_usd')} || '/' || {_text('b.held_withdrawable_micro_usd')} AS found,"
        f" {_text('COALESCE(r.amount, 0)')} || '/' || {_text('COALESCE(r.earned, 0)')} AS expected"
        f" FROM balances b LEFT JOIN (SELECT account_id, {_AMOUNT} AS amount,"
        f" {_sum('withdrawable_micro_usd')} AS earned"
        " FROM reservations WHERE state = 'held' GROUP BY account_id) r ON r.account_id = b.account_id"
        " WHERE b.held_micro_usd <> COALESCE(r.amount, 0)"
        " OR b.held_withdrawable_micro_usd <> COALESCE(r.earned, 0)"
    ),
    "A3 open reservations have a balance": (
        "SELECT r.request_id AS subject, 'no row' AS found, 'a balances row' AS expected FROM reservations r"
        " LEFT JOIN balances b ON b.account_id = r.account_id"
        " WHERE r.state = 'held' AND r.amount_micro_usd > 0 AND b.account_id IS NULL"
    ),
    "A4 balances are sound": (
        f"SELECT account_id AS subject, {_text('balance_micro_usd')} || '/' || {_text('withdrawable_micro_usd')}"
        f" || '/' || {_text('held_micro_usd')} || '/' || {_text('held_withdrawable_micro_usd')} AS found,"
        " 'parts within their wholes' AS expected FROM balances WHERE withdrawable_micro_usd < 0"
        " OR withdrawable_micro_usd > balance_micro_usd OR held_withdrawable_micro_usd < 0"
        " OR held_withdrawable_micro_usd > withdrawable_micro_usd OR held_micro_usd < held_withdrawable_micro_usd"
        " OR held_micro_usd - held_withdrawable_micro_usd > balance_micro_usd - withdrawable_micro_usd"
    ),
    "A5 entries form a chain": (
        f"SELECT {_text('c.id')} AS subject, {_text('COALESCE(c.balance_after, -1)')} AS found,"
        f" {_text('COALESCE(c.before, 0) + c.amount')} AS expected FROM (SELECT id, balance_after,"
        " amount_micro_usd AS amount, LAG(balance_after) OVER (PARTITION BY account_id ORDER BY id) AS before"
        f" FROM ledger_entries WHERE account_id NOT IN ({_COUNTERS})) c"
        " WHERE c.balance_after IS NULL OR c.balance_after <> COALESCE(c.before, 0) + c.amount"
    ),
    "A6 a settled reservation has its usage and its transaction": (
        "SELECT r.request_id AS subject, 'settled' AS found, 'a usage row and a settle transaction' AS expected"
        " FROM reservations r LEFT JOIN usage u ON u.request_id = r.request_id"
        " LEFT JOIN ledger_txns t ON t.kind = 'settle' AND t.reference = r.request_id"
        " WHERE r.state = 'settled' AND (u.id IS NULL OR t.id IS NULL)"
    ),
    "A6 what was not settled has no usage": (
        "SELECT r.request_id AS subject, r.state || ' with usage' AS found, 'no usage row' AS expected"
        " FROM reservations r JOIN usage u ON u.request_id = r.request_id WHERE r.state <> 'settled'"
    ),
    "A6 a settle transaction has its usage": (
        "SELECT t.reference AS subject, 'a settle transaction' AS found, 'a usage row' AS expected"
        " FROM ledger_txns t LEFT JOIN usage u ON u.request_id = t.reference WHERE t.kind = 'settle' AND u.id IS NULL"
    ),
    "A6 earnings are the payouts": (
        f"SELECT p.reference AS subject, {_text('COALESCE(e.amount_micro_usd, 0)')} AS found,"
        f" {_text('p.amount')} AS expected FROM (SELECT t.reference, {_sum('l.amount_micro_usd')} AS amount"
        " FROM ledger_entries l JOIN ledger_txns t ON t.id = l.txn_id"
        " WHERE t.kind = 'settle' AND l.entry_type = 'payout' GROUP BY t.reference) p"
        " LEFT JOIN provider_earnings e ON e.job_id = p.reference AND e.kind = 'work'"
        " WHERE COALESCE(e.amount_micro_usd, 0) <> p.amount"
    ),
    "A7 a charge is at most twice its reservation": (
        f"SELECT request_id AS subject, {_text('settled_cost_micro_usd')} AS found,"
        f" 'at most ' || {_text('2 * amount_micro_usd')} AS expected FROM reservations"
        " WHERE state = 'settled' AND (settled_cost_micro_usd IS NULL"
        " OR settled_cost_micro_usd > 2 * amount_micro_usd)"
    ),
    "A7 the charge is the usage's cost": (
        f"SELECT u.request_id AS subject, {_text('u.cost_micro_usd')} AS found,"
        f" {_text('COALESCE(c.total, 0)')} AS expected FROM usage u"
        f" LEFT JOIN {_posted('settle', 'charge', sign='-')} c ON c.reference = u.request_id"
        " WHERE u.cost_micro_usd <> COALESCE(c.total, 0)"
    ),
    "A7 the settled cost is the usage's cost": (
        f"SELECT r.request_id AS subject, {_text('r.settled_cost_micro_usd')} AS found,"
        f" {_text('u.cost_micro_usd')} AS expected FROM reservations r JOIN usage u ON u.request_id = r.request_id"
        " WHERE r.state = 'settled' AND r.settled_cost_micro_usd <> u.cost_micro_usd"
    ),
    "A8 only earnings and rewards become withdrawable": (
        f"SELECT {_text('id')} AS subject, entry_type AS found, 'a type that can be earned' AS expected"
        " FROM ledger_entries WHERE withdrawable_delta_micro_usd > 0 AND entry_type NOT IN"
        " ('payout', 'referral_reward', 'admin_reward', 'provider_floor_draw', 'refund', 'migration')"
    ),
    "A9 a withdrawal is refunded at most once": (
        f"SELECT w.id AS subject, {_text('COALESCE(x.total, 0) + COALESCE(f.total, 0)')} AS found,"
        f" 'at most ' || {_text('w.amount_micro_usd')} AS expected FROM stripe_withdrawals w"
        f" LEFT JOIN {_posted('withdraw_refund', 'refund')} x ON x.reference = 'stripe_withdraw:' || w.id"
        f" LEFT JOIN {_posted('withdraw_fee_refund', 'refund')} f ON f.reference = 'stripe_withdraw_fee:' || w.id"
        " WHERE COALESCE(x.total, 0) + COALESCE(f.total, 0) NOT BETWEEN 0 AND w.amount_micro_usd"
    ),
    "A9 a paid withdrawal is not refunded": (
        "SELECT w.id AS subject, 'paid and refunded' AS found, 'one of them' AS expected FROM stripe_withdrawals w"
        " JOIN ledger_txns t ON t.kind = 'withdraw_refund' AND t.reference = 'stripe_withdraw:' || w.id"
        " WHERE w.status = 'paid' OR w.refunded = 0"
    ),
    "A9 a withdrawal was debited": (
        f"SELECT w.id AS subject, {_text('COALESCE(x.total, 0)')} AS found,"
        f" {_text('w.amount_micro_usd')} AS expected FROM stripe_withdrawals w"
        f" LEFT JOIN {_posted('withdraw', 'stripe_payout', sign='-')} x ON x.reference = 'stripe_withdraw:' || w.id"
        " WHERE COALESCE(x.total, 0) <> w.amount_micro_usd"
    ),
    "A10 a checkout is credited once and exactly": (
        f"SELECT s.id AS subject, {_text('COALESCE(x.total, 0)')} AS found,"
        f" {_text('s.amount_micro_usd')} || ' iff completed' AS expected FROM billing_sessions s"
        f" LEFT JOIN {_posted('deposit', 'stripe_deposit')} x ON x.reference = 'stripe:' || s.external_id"
        " WHERE s.external_id <> ''"
        " AND COALESCE(x.total, 0) <> CASE WHEN s.status = 'completed' THEN s.amount_micro_usd ELSE 0 END"
    ),
    "A11 an invite is counted and credited as often as it was redeemed": (
        f"SELECT c.code AS subject, {_text('c.used_count')} AS found, {_text('COALESCE(r.uses, 0)')} AS expected"
        " FROM invite_codes c LEFT JOIN (SELECT code, COUNT(*) AS uses FROM invite_redemptions GROUP BY code) r"
        " ON r.code = c.code WHERE c.used_count <> COALESCE(r.uses, 0)"
        " OR (c.max_uses > 0 AND c.used_count > c.max_uses)"
    ),
    "A11 every redemption was credited": (
        f"SELECT r.code || ':' || r.account_id AS subject, {_text('COALESCE(x.total, 0)')} AS found,"
        f" {_text('c.amount_micro_usd')} AS expected FROM invite_redemptions r"
        f" JOIN invite_codes c ON c.code = r.code LEFT JOIN {_posted('invite', 'invite_credit')} x"
        " ON x.reference = 'invite:' || r.code || ':' || r.account_id"
        " WHERE COALESCE(x.total, 0) <> c.amount_micro_usd"
    ),
    "A12 a draw was paid once and exactly": (
        f"SELECT d.epoch_id || ':' || d.provider_key AS subject, {_text('COALESCE(x.total, 0)')} AS found,"
        f" {_text('d.amount_micro_usd')} AS expected FROM provider_floor_draws d"
        f" LEFT JOIN {_posted('floor', 'provider_floor_draw')} x"
        " ON x.reference = 'floor:' || d.epoch_id || ':' || d.provider_key"
        " WHERE COALESCE(x.total, 0) <> d.amount_micro_usd"
    ),
    "summaries are the sums of the earnings": (
        "SELECT s.key_type || ':' || s.key AS subject,"
        f" {_text('s.total_count')} || '/' || {_text('s.total_micro_usd')} AS found,"
        f" {_text('COALESCE(e.jobs, 0)')} || '/' || {_text('COALESCE(e.total, 0)')} AS expected"
        " FROM earnings_summary s LEFT JOIN (SELECT key, key_type,"
        f" {_sum('jobs')} AS jobs, {_sum('amount')} AS total FROM ("
        "SELECT account_id AS key, 'account' AS key_type, CASE WHEN kind = 'work' THEN 1 ELSE 0 END AS jobs,"
        " amount_micro_usd AS amount FROM provider_earnings UNION ALL"
        " SELECT provider_key AS key, 'provider' AS key_type, CASE WHEN kind = 'work' THEN 1 ELSE 0 END AS jobs,"
        " amount_micro_usd AS amount FROM provider_earnings) p GROUP BY key, key_type) e"
        " ON e.key = s.key AND e.key_type = s.key_type"
        " WHERE s.total_count <> COALESCE(e.jobs, 0) OR s.total_micro_usd <> COALESCE(e.total, 0)"
    ),
}
