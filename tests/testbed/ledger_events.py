"""Economic events of a test trace, and how each is played on a real store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from server.accounts import api_keys
from server.accounts.api_keys import FreshKey
from server.billing import holds
from server.billing.key_spend import KeyCap
from server.billing.ledger import DUST, GRANTS, PLATFORM, STRIPE_IN, STRIPE_OUT, Entry, post
from server.billing.prices import Tokens
from server.billing.settle import Bill, settle
from server.store.errors import CapExceeded, Conflict, InsufficientBalance, Invalid, NotFound
from tests.testbed.books import LIFETIME, MINUTE, Books

if TYPE_CHECKING:
    from server.store.engine import Tx, Value

ACCOUNTS = ("a0", "a1", "a2", "a3", "a4")
FEES: dict[str, int | None] = {"a0": None, "a1": 10, "a2": 100, "a3": 5, "a4": None}
REFERRERS = {"a0": "a1", "a2": "a3", "a3": "a0"}
"""Who brought whom; when a referrer's own machine serves, he is the owner too."""

CAP = KeyCap(limit=800_000, window="daily")
INVITE_AMOUNT = 70_000
INVITE_USES = 2


@dataclass(frozen=True, slots=True)
class Deposit:
    account: str
    amount: int
    reference: int


@dataclass(frozen=True, slots=True)
class Grant:
    account: str
    amount: int
    earned: bool
    reference: int


@dataclass(frozen=True, slots=True)
class Hold:
    request: int
    account: str
    amount: int
    keyed: bool


@dataclass(frozen=True, slots=True)
class Resize:
    request: int
    total: int
    up: bool


@dataclass(frozen=True, slots=True)
class Settle:
    """Settle with a cost in thousandths of what is reserved; `owner` is the index of an account, or None."""

    request: int
    per_mille: int
    owner: str | None


@dataclass(frozen=True, slots=True)
class Direct:
    """A request that was to run on the own machine and took no hold."""

    request: int
    account: str
    cost: int
    owner: str | None


@dataclass(frozen=True, slots=True)
class Release:
    request: int


@dataclass(frozen=True, slots=True)
class Sweep:
    minutes: int


@dataclass(frozen=True, slots=True)
class Withdraw:
    account: str
    gross: int
    reference: int


@dataclass(frozen=True, slots=True)
class TransferFails:
    reference: int


@dataclass(frozen=True, slots=True)
class PayoutFails:
    """The instant fee comes back."""

    reference: int


@dataclass(frozen=True, slots=True)
class Paid:
    reference: int


@dataclass(frozen=True, slots=True)
class Redeem:
    account: str
    code: int


@dataclass(frozen=True, slots=True)
class Rotate:
    """Replace the account's key by its successor number `to`; only the one right before it can be replaced."""

    account: str
    to: int


Event: TypeAlias = (
    Deposit
    | Grant
    | Hold
    | Resize
    | Settle
    | Direct
    | Release
    | Sweep
    | Withdraw
    | TransferFails
    | PayoutFails
    | Paid
    | Redeem
    | Rotate
)


def key_name(account: str, number: int) -> str:
    """The id of an account's key: number 0 is the first one, each rotation counts on."""
    return f"key-{account}-{number}"


def withdrawal_parts(gross: int) -> tuple[int, int, int]:
    """Fee, cents and dust of a withdrawal."""
    fee = gross // 10
    cents, dust = divmod(gross - fee, 10_000)
    return fee, cents, dust


async def prepare(books: Books) -> None:
    """Make the people with a capped key each, what is agreed with them, and the invites."""
    settings: dict[str, Value] = {"limit_micro_usd": CAP.limit, "limit_reset": CAP.window}
    for account in ACCOUNTS:
        await books.user(account, fee=FEES[account])
        await books.store.write(
            lambda tx, a=account: api_keys.create(tx, a, settings, books.now, _fresh_key(a, 0))  # type: ignore[misc]
        )
    for consumer, referrer in REFERRERS.items():
        await books.refer(consumer, referrer)
    for code in range(2):
        await books.run(
            "INSERT INTO invite_codes (code, amount_micro_usd, max_uses, created_at) VALUES ($1, $2, $3, 1)",
            f"INV-{code}",
            INVITE_AMOUNT,
            INVITE_USES,
        )


async def play(books: Books, event: Event) -> str:
    """Do it on the store; says how it ended in one word."""
    try:
        match event:
            case Sweep(minutes):
                books.now += minutes * MINUTE
                return await _sweep(books)
            case _:
                return await books.store.write(lambda tx: _work(tx, books, event))
    except InsufficientBalance:
        return "refused"
    except CapExceeded:
        return "cap"
    except Invalid:
        return "invalid"
    except Conflict:
        return "conflict"
    except NotFound:
        return "missing"


async def _sweep(books: Books) -> str:
    expired = await books.store.read(lambda tx: holds.expired(tx, books.now, 1000))
    for request in expired:
        await books.store.write(
            lambda tx, r=request: holds.release(tx, r, "expired", books.now, expired_before=books.now)  # type: ignore[misc]
        )
    return "done" if expired else "nothing"


async def _work(tx: Tx, books: Books, event: Event) -> str:
    work: Callable[[Tx, Books, object], Awaitable[str]] = _WORK[type(event)]
    return await work(tx, books, event)


async def _post(tx: Tx, books: Books, kind: str, reference: str, *entries: Entry) -> str:
    kept = [entry for entry in entries if entry.amount]
    return "nothing" if await post(tx, kind, reference, kept, books.now) is None else "done"


async def _deposit(tx: Tx, books: Books, event: Deposit) -> str:
    entries = (
        Entry(STRIPE_IN, "stripe_deposit", -event.amount),
        Entry(event.account, "stripe_deposit", event.amount),
    )
    return await _post(tx, books, "deposit", f"stripe:{event.reference}", *entries)


async def _grant(tx: Tx, books: Books, event: Grant) -> str:
    kind = "admin_reward" if event.earned else "admin_credit"
    entries = (
        Entry(GRANTS, kind, -event.amount),
        Entry(event.account, kind, event.amount, event.amount if event.earned else 0),
    )
    return await _post(tx, books, "admin", f"k{event.reference}", *entries)


async def _hold(tx: Tx, books: Books, event: Hold) -> str:
    key_id, cap = await _live_key(tx, event.account) if event.keyed else ("", None)
    await holds.hold(
        tx,
        request_id=f"r{event.request}",
        account_id=event.account,
        amount=event.amount,
        now=books.now,
        expires_at=books.now + LIFETIME,
        key_id=key_id,
        cap=cap,
    )
    return "done"


async def _live_key(tx: Tx, account: str) -> tuple[str, KeyCap]:
    """The one key with which an account can ask, and its cap as it is stored."""
    [key] = await api_keys.list_live(tx, account)
    assert key.settings.limit_micro_usd is not None
    return key.id, KeyCap(limit=key.settings.limit_micro_usd, window=key.settings.limit_reset)


async def _resize(tx: Tx, books: Books, event: Resize) -> str:
    request = f"r{event.request}"
    if not event.up:
        await holds.lower_hold(tx, request, event.total, books.now)
        return "done"
    row = await holds.find(tx, request)
    await holds.raise_hold(tx, request, event.total, books.now, cap=CAP if row is not None and row.key_id else None)
    return "done"


async def _settle(tx: Tx, books: Books, event: Settle) -> str:
    row = await holds.find(tx, f"r{event.request}")
    if row is None:
        return "nothing"
    bill = Bill(
        request_id=row.request_id,
        account_id=row.account_id,
        funding="hold",
        cost=row.amount * event.per_mille // 1000,
        tokens=Tokens(5, 0, 5),
        model="m",
        key_id=row.key_id,
        owner=event.owner,
        provider_key=f"machine-{event.owner}",
    )
    return "done" if (await settle(tx, bill, books.tariff, books.now)).fresh else "nothing"


async def _direct(tx: Tx, books: Books, event: Direct) -> str:
    bill = Bill(
        request_id=f"d{event.request}",
        account_id=event.account,
        funding="direct",
        cost=event.cost,
        tokens=Tokens(5, 0, 5),
        model="m",
        owner=event.owner,
        provider_key=f"machine-{event.owner}",
    )
    return "done" if (await settle(tx, bill, books.tariff, books.now)).fresh else "nothing"


async def _release(tx: Tx, books: Books, event: Release) -> str:
    return "done" if await holds.release(tx, f"r{event.request}", "unused", books.now) else "nothing"


async def _withdraw(tx: Tx, books: Books, event: Withdraw) -> str:
    fee, cents, dust = withdrawal_parts(event.gross)
    done = await _post(
        tx,
        books,
        "withdraw",
        f"stripe_withdraw:{event.reference}",
        Entry(event.account, "stripe_payout", -event.gross, -event.gross),
        Entry(STRIPE_OUT, "stripe_payout", cents * 10_000),
        Entry(PLATFORM, "stripe_payout_fee", fee),
        Entry(DUST, "stripe_payout", dust),
    )
    if done == "done":
        await tx.execute(
            "INSERT INTO stripe_withdrawals (id, account_id, stripe_account_id, amount_micro_usd, fee_micro_usd,"
            " net_micro_usd, net_cents, method, status, created_at, updated_at)"
            " VALUES ($1, $2, 'acct', $3, $4, $5, $6, 'instant', 'pending', $7, $7)",
            str(event.reference),
            event.account,
            event.gross,
            fee,
            event.gross - fee,
            cents,
            books.now,
        )
    return done


async def _transfer_fails(tx: Tx, books: Books, event: TransferFails) -> str:
    row = await tx.row(
        "UPDATE stripe_withdrawals SET status = 'failed', refunded = 1 WHERE id = $1 AND status <> 'paid'"
        " AND refunded = 0 RETURNING account_id, amount_micro_usd",
        str(event.reference),
    )
    if row is None:
        return "nothing"
    account, gross = str(row["account_id"]), int(str(row["amount_micro_usd"]))
    fee, cents, dust = withdrawal_parts(gross)
    await _post(
        tx,
        books,
        "withdraw_refund",
        f"stripe_withdraw:{event.reference}",
        Entry(account, "refund", gross - fee, gross - fee),
        Entry(STRIPE_OUT, "refund", -cents * 10_000),
        Entry(DUST, "refund", -dust),
    )
    await _fee_back(tx, books, event.reference, account, fee)
    return "done"


async def _fee_back(tx: Tx, books: Books, reference: int, account: str, fee: int) -> str:
    entries = (Entry(account, "refund", fee, fee), Entry(PLATFORM, "refund", -fee))
    return await _post(tx, books, "withdraw_fee_refund", f"stripe_withdraw_fee:{reference}", *entries)


async def _payout_fails(tx: Tx, books: Books, event: PayoutFails) -> str:
    row = await tx.row(
        "UPDATE stripe_withdrawals SET status = 'transferred', fee_refunded = 1 WHERE id = $1 AND refunded = 0"
        " AND (status <> 'transferred' OR fee_refunded = 0) RETURNING account_id, fee_micro_usd",
        str(event.reference),
    )
    if row is None:
        return "nothing"
    await _fee_back(tx, books, event.reference, str(row["account_id"]), int(str(row["fee_micro_usd"])))
    return "done"


async def _paid(tx: Tx, books: Books, event: Paid) -> str:
    changed = await tx.execute(
        "UPDATE stripe_withdrawals SET status = 'paid' WHERE id = $1 AND refunded = 0 AND status <> 'paid'",
        str(event.reference),
    )
    return "done" if changed else "nothing"


async def _redeem(tx: Tx, books: Books, event: Redeem) -> str:
    code = f"INV-{event.code}"
    claimed = await tx.value(
        "INSERT INTO invite_redemptions (code, account_id, created_at) VALUES ($1, $2, 1)"
        " ON CONFLICT (code, account_id) DO NOTHING RETURNING code",
        code,
        event.account,
    )
    if claimed is None:
        return "nothing"
    counted = await tx.execute(
        "UPDATE invite_codes SET used_count = used_count + 1 WHERE code = $1 AND used_count < max_uses", code
    )
    if not counted:
        raise Conflict(f"The invite {code} is used up.")
    entries = (
        Entry(GRANTS, "invite_credit", -INVITE_AMOUNT),
        Entry(event.account, "invite_credit", INVITE_AMOUNT),
    )
    return await _post(tx, books, "invite", f"invite:{code}:{event.account}", *entries)


async def _rotate(tx: Tx, books: Books, event: Rotate) -> str:
    fresh = _fresh_key(event.account, event.to)
    await api_keys.rotate(tx, event.account, key_name(event.account, event.to - 1), books.now, fresh)
    return "done"


def _fresh_key(account: str, number: int) -> FreshKey:
    name = key_name(account, number)
    return FreshKey(name, f"sk-db-{name}")


_WORK: dict[type[object], Callable[[Tx, Books, object], Awaitable[str]]] = {
    Deposit: _deposit,
    Grant: _grant,
    Hold: _hold,
    Resize: _resize,
    Settle: _settle,
    Direct: _direct,
    Release: _release,
    Withdraw: _withdraw,
    TransferFails: _transfer_fails,
    PayoutFails: _payout_fails,
    Paid: _paid,
    Redeem: _redeem,
    Rotate: _rotate,
}  # type: ignore[dict-item]
