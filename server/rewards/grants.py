"""What administrators give people: credits, withdrawable rewards, a role, a platform fee of their own.

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
    from server.accounts.changes import Changes
    from server.accounts.ports import Role
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
    """Over the store; `changes` tells the caches of all coordinators, `wall_clock` gives microseconds."""

    def __init__(self, store: Store, *, changes: Changes, wall_clock: Callable[[], int]) -> None:
        self._store = store
        self._changes = changes
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
            user = await _find(tx, person)
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

    async def set_role(self, person: Person, role: Role) -> User:
        """Make a person an ordinary user or a partner. Raises NotFound, Conflict."""
        now = self._wall_clock()

        async def work(tx: Tx) -> User:
            user = await _find(tx, person)
            await users.set_role(tx, user.account_id, role, now)
            await self._changes.announce(tx, "account", user.account_id)
            return user

        user = await self._store.write(work)
        self._changes.heard(f"account {user.account_id}")
        return user

    async def set_platform_fee(self, person: Person, percent: int | None) -> User:
        """Set the fee on what a person's machines earn, 0 to 100; None for the general one. Raises as above."""
        if percent is not None and not 0 <= percent <= 100:
            raise Invalid("fee_percent must be from 0 to 100, or null.")
        now = self._wall_clock()

        async def work(tx: Tx) -> User:
            user = await _find(tx, person)
            await tx.execute(
                "UPDATE users SET platform_fee_percent = $2, updated_at = $3 WHERE account_id = $1",
                user.account_id,
                percent,
                now,
            )
            return user

        return await self._store.write(work)


async def _find(tx: Tx, person: Person) -> User:
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
