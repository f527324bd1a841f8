"""Accounts as operators see them: finding one by any of its names, and the acts on it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, cast

from server.accounts import suspension, users
from server.administration.operator import Deed, Operator
from server.billing.ledger import COUNTER_ACCOUNTS
from server.store import Conflict, Invalid, NotFound

if TYPE_CHECKING:
    from server.accounts.changes import Topic
    from server.accounts.ports import Role
    from server.store import Row, Tx

MAX_FOUND: Final = 200
MAX_QUERY: Final = 320
_COLUMNS: Final = (
    "u.account_id, u.privy_user_id, u.email, u.email_norm, u.role, u.is_admin, u.platform_fee_percent, u.created_at,"
    " u.suspended_at, u.suspended_reason, u.stripe_account_status, COALESCE(c.login_norm, '') AS login,"
    " COALESCE(b.balance_micro_usd, 0) AS balance, COALESCE(b.withdrawable_micro_usd, 0) AS withdrawable,"
    " COALESCE(b.held_micro_usd, 0) AS held, COALESCE(b.held_withdrawable_micro_usd, 0) AS held_withdrawable,"
    " (SELECT COUNT(*) FROM api_keys k WHERE k.owner_account_id = u.account_id AND k.revoked_at IS NULL) AS live_keys,"
    " (SELECT COUNT(*) FROM provider_tokens t WHERE t.account_id = u.account_id AND t.active = 1) AS machine_tokens"
)
_FROM: Final = (
    "FROM users u LEFT JOIN local_credentials c ON c.account_id = u.account_id"
    " LEFT JOIN balances b ON b.account_id = u.account_id WHERE u.erased_at IS NULL"
)
_ESCAPE: Final = "!"
_CREDENTIAL: Final = re.compile(r"[A-Za-z0-9_-]{40}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountView:
    """An account; micro-USD and microseconds. `fee_percent` None: the platform's default.

    `email` is for display unless `verified`; `login` is the name of a local account.
    """

    account_id: str
    external_id: str
    login: str
    email: str
    verified: bool
    role: Role
    is_admin: bool
    fee_percent: int | None
    suspended_at: int | None
    suspended_reason: str
    stripe_status: str
    live_keys: int
    machine_tokens: int
    balance: int
    withdrawable: int
    held: int
    held_withdrawable: int
    created_at: int

    @property
    def name(self) -> str:
        """What a person would call it."""
        return self.login or self.email or self.external_id


async def search(tx: Tx, text: str, limit: int = 50) -> list[AccountView]:
    """Find accounts of which an id, an address or a name holds the text; all for an empty one, newest first."""
    sql = f"SELECT {_COLUMNS} {_FROM}"
    values: list[int | str] = [min(max(limit, 1), MAX_FOUND)]
    wanted = users.normal_email(text)[:MAX_QUERY]
    if wanted:
        values.append(f"%{_literally(wanted)}%")
        columns = ("u.account_id", "LOWER(u.privy_user_id)", "LOWER(u.email)", "u.email_norm", "c.login_norm")
        sql += f" AND ({' OR '.join(f'{column} LIKE $2 ESCAPE {_ESCAPE!r}' for column in columns)})"
    rows = await tx.fetch(f"{sql} ORDER BY u.created_at DESC, u.account_id LIMIT $1", *values)
    return [_view(row) for row in rows]


async def view(tx: Tx, account_id: str) -> AccountView:
    """Give one account; raises NotFound."""
    row = await tx.row(f"SELECT {_COLUMNS} {_FROM} AND u.account_id = $1", account_id)
    if row is None:
        raise NotFound(f"There is no account {_echo(account_id)}.")
    return _view(row)


async def resolve(tx: Tx, who: str) -> str:
    """Give the account id of an account id, a login, a verified address or an identity provider's id.

    Raises NotFound, and Conflict when the name stands for several accounts.
    """
    name = who.strip()
    exact = "SELECT account_id FROM users WHERE erased_at IS NULL AND (account_id = $1 OR privy_user_id = $1)"
    rows = await tx.fetch(exact, name)
    if not rows:
        rows = await tx.fetch(
            "SELECT account_id FROM users WHERE email_norm = $1 AND email_norm <> '' AND erased_at IS NULL"
            " UNION SELECT c.account_id FROM local_credentials c JOIN users u ON u.account_id = c.account_id"
            " WHERE c.login_norm = $1 AND u.erased_at IS NULL LIMIT 10",
            users.normal_email(name),
        )
    found = sorted({cast(str, row["account_id"]) for row in rows})
    if not found:
        raise NotFound(
            f"There is no account {_echo(name)}; name it by account id, login, verified address or identity."
        )
    if len(found) > 1:
        raise Conflict(f"{_echo(name)} stands for several accounts: {', '.join(found)}. Name one of these ids.")
    return found[0]


async def resolve_holder(tx: Tx, who: str) -> str:
    """Like `resolve`, also for what has ledger entries without being a person: `platform`, `sys:…`, `legacy:…`."""
    name = who.strip()
    if name in COUNTER_ACCOUNTS:
        return name
    if name.startswith("legacy:"):
        if await tx.row("SELECT account_id FROM balances WHERE account_id = $1", name) is not None:
            return name
        raise NotFound(f"The account {_echo(name)} never had money.")
    return await resolve(tx, name)


class AccountActs:
    """What operators do to accounts; raises NotFound, Conflict, Invalid, StoreUnavailable."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    async def set_role(self, actor: str, who: str, role: Role) -> AccountView:
        """Make an account an ordinary one, or a wholesale partner (`service`)."""

        async def work(tx: Tx, now: int) -> Deed[AccountView]:
            before = await _locked(tx, who)
            await users.set_role(tx, before.account_id, role, now)
            return await _changed(tx, before, {"role": before.role}, {"role": role})

        return await self._operator.act(actor, "account.role", work)

    async def set_fee(self, actor: str, who: str, percent: int | None) -> AccountView:
        """Set the platform's share of what the account's machines earn, 0 to 100; None: the default."""
        if percent is not None and not 0 <= percent <= 100:
            raise Invalid("The fee must be a whole number of percent from 0 to 100.")

        async def work(tx: Tx, now: int) -> Deed[AccountView]:
            before = await _locked(tx, who)
            await tx.execute(
                "UPDATE users SET platform_fee_percent = $2, updated_at = $3 WHERE account_id = $1",
                before.account_id,
                percent,
                now,
            )
            return await _changed(tx, before, {"fee_percent": before.fee_percent}, {"fee_percent": percent})

        return await self._operator.act(actor, "account.fee", work)

    async def set_admin(self, actor: str, who: str, is_admin: bool) -> AccountView:
        """Give or take the administrator's mark."""

        async def work(tx: Tx, now: int) -> Deed[AccountView]:
            before = await _locked(tx, who)
            await users.set_admin(tx, before.account_id, is_admin, now)
            return await _changed(tx, before, {"is_admin": before.is_admin}, {"is_admin": is_admin})

        return await self._operator.act(actor, "account.admin", work)

    async def suspend(self, actor: str, who: str, reason: str) -> AccountView:
        """Refuse everything that an account sends, and unlink its machines; see server.accounts.suspension."""
        note = reason.strip()
        if not note or len(note) > suspension.MAX_REASON or not note.isprintable():
            raise Invalid(f"The reason must be 1 to {suspension.MAX_REASON} printable characters.")

        async def work(tx: Tx, now: int) -> Deed[AccountView]:
            before = await _locked(tx, who)
            if before.account_id == actor:
                raise Conflict("This is your own account; another administrator has to suspend it.")
            tokens = await suspension.suspend(tx, before.account_id, note, now)
            after = {"suspended": True, "reason": note}
            deed = await _changed(tx, before, {"suspended": before.suspended_at is not None}, after)
            news: tuple[tuple[Topic, str], ...] = tuple(("provider_token", digest) for digest in tokens)
            return replace(deed, news=(*deed.news, *news))

        return await self._operator.act(actor, "account.suspend", work)

    async def resume(self, actor: str, who: str) -> AccountView:
        """Take a suspension back."""

        async def work(tx: Tx, now: int) -> Deed[AccountView]:
            before = await _locked(tx, who)
            await suspension.resume(tx, before.account_id, now)
            return await _changed(tx, before, {"suspended": before.suspended_at is not None}, {"suspended": False})

        return await self._operator.act(actor, "account.resume", work)


async def _locked(tx: Tx, who: str) -> AccountView:
    account_id = await resolve(tx, who)
    await users.lock(tx, account_id)
    return await view(tx, account_id)


async def _changed(tx: Tx, before: AccountView, old: dict[str, object], new: dict[str, object]) -> Deed[AccountView]:
    after = await view(tx, before.account_id)
    return Deed(after, before.account_id, old, new, news=(("account", before.account_id),))


def _echo(name: str) -> str:
    """Repeat a name in an error; what is as long as a credential may be one, sent to the wrong place."""
    return "with this name" if _CREDENTIAL.search(name) else repr(name[:100])


def _literally(text: str) -> str:
    """Take the meaning from the letters that LIKE reads as patterns."""
    for letter in (_ESCAPE, "%", "_"):
        text = text.replace(letter, _ESCAPE + letter)
    return text


def _view(row: Row) -> AccountView:
    return AccountView(
        account_id=cast(str, row["account_id"]),
        external_id=cast(str, row["privy_user_id"]),
        login=cast(str, row["login"]),
        email=cast(str, row["email"]),
        verified=bool(row["email_norm"]),
        role=cast("Role", row["role"]),
        is_admin=bool(row["is_admin"]),
        fee_percent=cast("int | None", row["platform_fee_percent"]),
        suspended_at=cast("int | None", row["suspended_at"]),
        suspended_reason=cast(str, row["suspended_reason"]),
        stripe_status=cast(str, row["stripe_account_status"]),
        live_keys=cast(int, row["live_keys"]),
        machine_tokens=cast(int, row["machine_tokens"]),
        balance=cast(int, row["balance"]),
        withdrawable=cast(int, row["withdrawable"]),
        held=cast(int, row["held"]),
        held_withdrawable=cast(int, row["held_withdrawable"]),
        created_at=cast(int, row["created_at"]),
    )
