"""Moving all money of one account to another: of a key that had no owner to a person, or of a person's second account.

Invariant: both kinds of money move in one transaction of the ledger, earned as earned; nothing moves while a request or
a machine of the old account holds some of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from server.accounts import users
from server.administration import accounts
from server.administration.operator import Deed, Operator
from server.billing.ledger import COUNTER_ACCOUNTS, Entry, lock_balances, post
from server.store import Conflict, Invalid

if TYPE_CHECKING:
    from server.accounts.changes import Topic
    from server.store import Tx

KIND: Final = "migrate"
_LEGACY: Final = "legacy:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What went from one account to another, in micro-USD; `key_id` is the key that belongs to the new account now."""

    source: str
    target: str
    amount: int
    withdrawable: int
    key_id: str | None


class MoveActs:
    """What operators move; raises NotFound, Conflict, Invalid, StoreUnavailable."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    async def migrate(self, actor: str, source: str, target: str) -> Moved:
        """Move all money of `source` to the person `target`; a key without owner goes with its money."""

        async def work(tx: Tx, now: int) -> Deed[Moved]:
            old, new = await accounts.resolve_holder(tx, source), await accounts.resolve(tx, target)
            if old in COUNTER_ACCOUNTS or old == new:
                raise Invalid("Money is moved from one account of a person or a key to another one.")
            await users.lock(tx, new)
            moved = await _moved_at(tx, old, new, now) or await _move(tx, old, new, now)
            news: list[tuple[Topic, str]] = [("account", old), ("account", new)]
            if moved.key_id is not None:
                news.append(("key", moved.key_id))
            after = {"to": new, "amount_micro_usd": moved.amount, "withdrawable_micro_usd": moved.withdrawable}
            key = {} if moved.key_id is None else {"key": moved.key_id}
            return Deed(moved, old, {}, {**after, **key}, news=tuple(news))

        return await self._operator.act(actor, "account.migrate", work)


async def _move(tx: Tx, old: str, new: str, now: int) -> Moved:
    balance = (await lock_balances(tx, (old, new), now))[old]
    if balance.held:
        raise Conflict("Requests of this account are running and hold money of it; try again when they have ended.")
    key_id = await _adopt_key(tx, old, new)
    if not balance.balance and key_id is None:
        raise Conflict("This account has nothing that could be moved.")
    if balance.balance:
        entries = (
            Entry(old, "migration", -balance.balance, -balance.withdrawable),
            Entry(new, "migration", balance.balance, balance.withdrawable),
        )
        await post(tx, KIND, await _reference(tx, old, new), entries, now)
    return Moved(source=old, target=new, amount=balance.balance, withdrawable=balance.withdrawable, key_id=key_id)


async def _reference(tx: Tx, old: str, new: str) -> str:
    """Name the event: the first one of two accounts by them alone, later ones by their number too."""
    first = f"{old}->{new}"
    sql = "SELECT COUNT(*) FROM ledger_txns WHERE kind = $1 AND (reference = $2 OR substr(reference, 1, $3) = $4)"
    before = cast(int, await tx.value(sql, KIND, first, len(first) + 1, f"{first}#"))
    return first if not before else f"{first}#{before + 1}"


async def _adopt_key(tx: Tx, old: str, new: str) -> str | None:
    """Give the key behind a `legacy:` account to a person, so that it goes on with the money."""
    if not old.startswith(_LEGACY):
        return None
    sql = (
        "UPDATE api_keys SET owner_account_id = $2 WHERE key_hash = $1 AND owner_account_id IN ('', $2)"
        " AND revoked_at IS NULL RETURNING id"
    )
    row = await tx.row(sql, old.removeprefix(_LEGACY), new)
    return None if row is None else cast(str, row["id"])


async def _moved_at(tx: Tx, old: str, new: str, now: int) -> Moved | None:
    """What this very act moved, when it is run again because the answer to its COMMIT was lost."""
    rows = await tx.fetch(
        "SELECT l.amount_micro_usd AS amount, l.withdrawable_delta_micro_usd AS withdrawable FROM ledger_entries l"
        " JOIN ledger_txns t ON t.id = l.txn_id WHERE t.kind = $1 AND t.created_at = $2 AND l.account_id = $3"
        " AND substr(t.reference, 1, $4) = $5 AND l.amount_micro_usd > 0",
        KIND,
        now,
        new,
        len(old) + 2,
        f"{old}->",
    )
    if not rows:
        return None
    amount, withdrawable = cast(int, rows[0]["amount"]), cast(int, rows[0]["withdrawable"])
    return Moved(
        source=old, target=new, amount=amount, withdrawable=withdrawable, key_id=await _adopt_key(tx, old, new)
    )
