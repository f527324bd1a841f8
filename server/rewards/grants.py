"""What administrators give people: credits, and rewards that can also be paid out.

Invariant: a grant is one ledger transaction under the caller's idempotency key, which is prefixed with the account;
the same key again answers with what was done then, and another amount under it is refused.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from server.accounts import users
from server.billing.ledger import GRANTS, Entry, post, read_balance
from server.store.errors import Conflict, Invalid, NotFound

if TYPE_CHECKING:
    from server.accounts.users import User
    from server.store import Store, Tx

GrantKind: TypeAlias = Literal["admin_credit", "admin_reward"]
"""Credits can only be spent; a reward can also be paid out."""

MAX_KEY: Final = 128
MAX_NOTE: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whom an administrator means: by verified address, or by account id."""

    email: str = ""
    account_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """The receiver, and the free balances after it; micro-USD. `fresh` is False for a repetition."""

    user: User
    amount: int
    balance: int
    withdrawable: int
    fresh: bool


class Grants:
    """Over the store; `wall_clock` gives microseconds."""

    def __init__(self, store: Store, *, wall_clock: Callable[[], int]) -> None:
        self._store = store
        self._wall_clock = wall_clock

    async def grant(
        self, person: Person, *, kind: GrantKind, amount: int, note: str = "", idempotency_key: str = ""
    ) -> Granted:
        """Credit a person. Raises NotFound, Invalid; Conflict for an ambiguous address and a key used otherwise."""
        if amount <= 0:
            raise Invalid("The amount must be positive.")
        now = self._wall_clock()
        key = idempotency_key or str(uuid.uuid4())

        async def work(tx: Tx) -> Granted:
            user = await find(tx, person)
            reference = f"{user.account_id}:{key}"
            earned = amount if kind == "admin_reward" else 0
            text = f"{kind}:{note}" if note else kind
            entries = [Entry(GRANTS, kind, -amount), Entry(user.account_id, kind, amount, earned, text)]
            posted = await post(tx, "admin", reference, entries, now)
            if posted is None:
                await _check_same(tx, reference, user.account_id, kind, amount)
            balance = await read_balance(tx, user.account_id)
            return Granted(
                user=user,
                amount=amount,
                balance=balance.free,
                withdrawable=balance.free_withdrawable,
                fresh=posted is not None,
            )

        return await self._store.write(work)


async def find(tx: Tx, person: Person) -> User:
    """Find whom an administrator means; raises NotFound, and Conflict for an address that several people have."""
    if person.account_id:
        found = await users.find(tx, person.account_id)
        if found is None:
            raise NotFound("There is no user with this account id.")
        return found
    matches = await users.find_by_email(tx, person.email)
    if not matches:
        raise NotFound("There is no user with this verified e-mail address; local users are named by account_id.")
    if len(matches) > 1:
        raise Conflict("Several users have this e-mail address; name one of them by account_id.")
    return matches[0]


async def _check_same(tx: Tx, reference: str, account_id: str, kind: str, amount: int) -> None:
    row = await tx.row(
        "SELECT l.entry_type, l.amount_micro_usd FROM ledger_entries l JOIN ledger_txns t ON t.id = l.txn_id"
        " WHERE t.kind = 'admin' AND t.reference = $1 AND l.account_id = $2",
        reference,
        account_id,
    )
    if row is None or (cast(str, row["entry_type"]), cast(int, row["amount_micro_usd"])) != (kind, amount):
        raise Conflict("This idempotency key was used for another grant to this account; choose a new one.")
