"""The people: one row each, for those that Privy knows and for local accounts.

Invariant: `email_norm` holds only an address that an identity provider has verified. Grants and admin rights go by it,
so a local account, whose address nobody checked, has none.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

    from server.accounts.ports import Role
    from server.store import Row, Tx

PRIVY_PREFIX: Final = "did:privy:"
LOCAL_PREFIX: Final = "local:"
_EMAIL: Final = re.compile(r"[^\s@\x00-\x1f\x7f]{1,64}@[^\s@\x00-\x1f\x7f]{1,255}")
_COLUMNS: Final = "account_id, privy_user_id, email, email_norm, role, is_admin, suspended_at, created_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person; `email` is for display, `email_norm` is verified or empty, times in microseconds."""

    account_id: str
    external_id: str
    email: str
    email_norm: str
    role: Role
    is_admin: bool
    created_at: int
    is_suspended: bool = False

    @property
    def is_local(self) -> bool:
        """Whether the account was made here, not by an identity provider."""
        return self.external_id.startswith(LOCAL_PREFIX)


class AdminRule:
    """Who is an administrator: a user who is marked so, or one whose verified address is listed."""

    def __init__(self, emails: Iterable[str] = ()) -> None:
        self._emails = frozenset(normal_email(one) for one in emails)

    def listed(self, email: str) -> bool:
        """Whether an address is in the list."""
        return normal_email(email) in self._emails

    def __call__(self, user: User) -> bool:
        """Whether a user is an administrator."""
        return user.is_admin or (bool(user.email_norm) and not user.is_local and user.email_norm in self._emails)


def normal_email(email: str) -> str:
    """Give an address as it is compared."""
    return email.strip().lower()


def looks_like_email(text: str) -> bool:
    """Whether a text may be an address."""
    return _EMAIL.fullmatch(text) is not None


async def find(tx: Tx, account_id: str) -> User | None:
    """Find a user by account; erased ones are gone."""
    return _user(await tx.row(f"SELECT {_COLUMNS} FROM users WHERE account_id = $1 AND erased_at IS NULL", account_id))


async def find_external(tx: Tx, external_id: str) -> User | None:
    """Find a user by the identity provider's id (`did:privy:…`, `local:…`)."""
    sql = f"SELECT {_COLUMNS} FROM users WHERE privy_user_id = $1 AND erased_at IS NULL"
    return _user(await tx.row(sql, external_id))


async def find_by_email(tx: Tx, email: str, limit: int = 2) -> list[User]:
    """Find the users with a verified address; more than one means that it is ambiguous."""
    sql = f"SELECT {_COLUMNS} FROM users WHERE email_norm = $1 AND email_norm <> '' AND erased_at IS NULL LIMIT $2"
    return [user for row in await tx.fetch(sql, normal_email(email), limit) if (user := _user(row)) is not None]


async def insert(
    tx: Tx,
    external_id: str,
    now: int,
    *,
    account_id: str | None = None,
    email: str = "",
    verified: bool = False,
    is_admin: bool = False,
) -> User | None:
    """Make a user, with a new account id unless one is given; None when the external id has or had an account."""
    sql = (
        "INSERT INTO users (account_id, privy_user_id, email, email_norm, is_admin, email_checked_at, created_at, "
        "updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT (privy_user_id) DO NOTHING "
        f"RETURNING {_COLUMNS}"
    )
    norm = normal_email(email) if verified else ""
    checked_at = now if verified else None
    return _user(
        await tx.row(sql, account_id or str(uuid.uuid4()), external_id, email, norm, int(is_admin), checked_at, now)
    )


async def set_verified_email(tx: Tx, external_id: str, email: str, now: int) -> str | None:
    """Note what the identity provider says of a user's address (empty: it has none); give the account id."""
    sql = (
        "UPDATE users SET email = $2, email_norm = $3, email_checked_at = $4, updated_at = $4 "
        "WHERE privy_user_id = $1 AND erased_at IS NULL RETURNING account_id"
    )
    row = await tx.row(sql, external_id, email, normal_email(email), now)
    return None if row is None else cast(str, row["account_id"])


async def without_checked_email(tx: Tx, limit: int) -> list[str]:
    """List the external ids of Privy users whose address could not be looked up yet, oldest first."""
    sql = (
        "SELECT privy_user_id FROM users WHERE email_checked_at IS NULL AND erased_at IS NULL "
        "AND substr(privy_user_id, 1, 10) = $1 ORDER BY created_at LIMIT $2"
    )
    return [cast(str, row["privy_user_id"]) for row in await tx.fetch(sql, PRIVY_PREFIX, limit)]


async def any_exists(tx: Tx) -> bool:
    """Whether anybody has an account."""
    return await tx.row("SELECT account_id FROM users LIMIT 1") is not None


async def lock(tx: Tx, account_id: str) -> bool:
    """Lock a user's row until the transaction ends; False without one."""
    return await tx.row("SELECT account_id FROM users WHERE account_id = $1@LOCK", account_id) is not None


async def set_role(tx: Tx, account_id: str, role: Role, now: int) -> bool:
    """Make a user an ordinary one or a partner; False when there is none."""
    return (
        await tx.execute("UPDATE users SET role = $2, updated_at = $3 WHERE account_id = $1", account_id, role, now) > 0
    )


async def set_admin(tx: Tx, account_id: str, is_admin: bool, now: int) -> bool:
    """Give or take the administrator's mark; False when there is no such user."""
    sql = "UPDATE users SET is_admin = $2, updated_at = $3 WHERE account_id = $1"
    return await tx.execute(sql, account_id, int(is_admin), now) > 0


def _user(row: Row | None) -> User | None:
    if row is None:
        return None
    return User(
        account_id=cast(str, row["account_id"]),
        external_id=cast(str, row["privy_user_id"]),
        email=cast(str, row["email"]),
        email_norm=cast(str, row["email_norm"]),
        role=cast("Role", row["role"]),
        is_admin=bool(row["is_admin"]),
        created_at=cast(int, row["created_at"]),
        is_suspended=row["suspended_at"] is not None,
    )
