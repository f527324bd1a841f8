"""Accounts with a password, for installations without an identity provider: set-up, sign-up, sign-in.

Invariant: the first account is made with a set-up token, once, and only while nobody has an account.
"""

from __future__ import annotations

import unicodedata
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from server.accounts import users, web_sessions
from server.accounts.credentials import hash_of, new_opaque
from server.accounts.key_settings import clean_line
from server.accounts.passwords import PasswordRefused, check_new_password
from server.store import Conflict, NotFound

if TYPE_CHECKING:
    from server.accounts.passwords import PasswordHasher
    from server.accounts.users import User
    from server.accounts.web_sessions import OpenedSession
    from server.store import Store, Tx

SignUp: TypeAlias = Literal["closed", "invite", "open"]
SETUP_TOKEN_LIVES: Final = 3600 * 1_000_000
MIN_LOGIN: Final = 3
MAX_LOGIN: Final = 254
INVITE_USED: Final = "This invitation is not valid or has been used."
SETUP_USED: Final = "This setup link has been used."
SETUP_UNKNOWN: Final = "This setup link is not valid or has expired; restart the coordinator to get a new one."


class SignUpRefused(Exception):
    """The account cannot be made; the text is for the person at the form."""


def normal_login(login: str) -> str:
    """Give a name or address as it is compared; raises ValueError for what cannot be one."""
    norm = unicodedata.normalize("NFKC", clean_line(login, MAX_LOGIN)).casefold()
    if not MIN_LOGIN <= len(norm) <= MAX_LOGIN or any(character.isspace() for character in norm):
        raise ValueError(f"The name must have {MIN_LOGIN} to {MAX_LOGIN} characters and no spaces.")
    return norm


class LocalLogin:
    """Makes and checks local accounts. `wall_clock` gives microseconds; raises StoreUnavailable."""

    def __init__(self, store: Store, *, hasher: PasswordHasher, sign_up: SignUp, wall_clock: Callable[[], int]) -> None:
        self._store = store
        self._hasher = hasher
        self._sign_up = sign_up
        self._wall_clock = wall_clock

    async def new_setup_token(self) -> str | None:
        """Make the one-time token of a fresh installation, good for an hour; None once anybody has an account."""
        token = new_opaque()
        now = self._wall_clock()

        async def work(tx: Tx) -> bool:
            if await users.any_exists(tx):
                return False
            await tx.execute("DELETE FROM setup_tokens WHERE expires_at < $1 AND used_at IS NULL", now)
            sql = (
                "INSERT INTO setup_tokens (token_hash, created_at, expires_at) VALUES ($1, $2, $3) "
                "ON CONFLICT (token_hash) DO NOTHING"
            )
            await tx.execute(sql, hash_of(token), now, now + SETUP_TOKEN_LIVES)
            return True

        return token if await self._store.write(work) else None

    async def set_up(self, token: str, login: str, password: str) -> User:
        """Make the first account, an administrator; raises SignUpRefused."""
        return await self._make(login, password, lambda tx, now, who: _use_setup_token(tx, token, now, who))

    async def join(self, login: str, password: str, invite: str = "") -> User:
        """Make an account as the setting permits; raises SignUpRefused."""
        if self._sign_up == "closed":
            raise SignUpRefused("New accounts are not open here; ask the operator.")
        if self._sign_up == "open":
            return await self._make(login, password, _open_to_all)
        return await self._make(login, password, lambda tx, now, who: _use_invite(tx, invite, now, who))

    async def sign_in(self, login: str, password: str) -> User | None:
        """Give the user of a name and password; None for an unknown name and for a wrong password, in equal time."""
        try:
            norm = normal_login(login)
        except ValueError:
            norm = ""
        sql = "SELECT account_id, password_hash FROM local_credentials WHERE login_norm = $1"
        row = await self._store.read(lambda tx: tx.row(sql, norm))
        stored = None if row is None else cast(str, row["password_hash"])
        if not await self._hasher.matches(password, stored) or row is None:
            return None
        account_id = cast(str, row["account_id"])
        return await self._store.read(lambda tx: users.find(tx, account_id))

    async def name_of(self, account_id: str) -> str | None:
        """Give the name with which an account signs in; None for one without a password."""
        sql = "SELECT login_norm FROM local_credentials WHERE account_id = $1"
        return cast("str | None", await self._store.read(lambda tx: tx.value(sql, account_id)))

    async def change_password(self, account_id: str, old: str, new: str, *, label: str = "") -> OpenedSession | None:
        """Set a new password, end all sessions and open one; None when the old password is wrong.

        Raises NotFound for an account without a password, PasswordRefused for a bad new one.
        """
        sql = "SELECT login_norm, password_hash FROM local_credentials WHERE account_id = $1"
        row = await self._store.read(lambda tx: tx.row(sql, account_id))
        if row is None:
            raise NotFound("This account has no password; it signs in elsewhere.")
        stored = cast(str, row["password_hash"])
        check_new_password(new, cast(str, row["login_norm"]))
        if not await self._hasher.matches(old, stored):
            return None
        hashed = await self._hasher.hash(new)
        now = self._wall_clock()

        async def work(tx: Tx) -> OpenedSession | None:
            # The new hash counts too: it stands there when the answer to a COMMIT was lost and this is run again.
            changed = await tx.execute(
                "UPDATE local_credentials SET password_hash = $2, updated_at = $3 "
                "WHERE account_id = $1 AND password_hash IN ($2, $4)",
                account_id,
                hashed,
                now,
                stored,
            )
            if not changed:
                return None
            await web_sessions.end_all(tx, account_id, now)
            return await web_sessions.insert(tx, account_id, "local", now, label=label)

        return await self._store.write(work)

    async def invite(self, created_by: str, *, max_uses: int = 1, lives: int | None = None, label: str = "") -> str:
        """Make an invitation to sign up and give its code, which is shown this one time; `lives` in microseconds."""
        code = new_opaque()
        now = self._wall_clock()
        sql = (
            "INSERT INTO signup_invites (code_hash, label, max_uses, created_by, created_at, expires_at) "
            "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (code_hash) DO NOTHING"
        )
        expires_at = None if lives is None else now + lives
        await self._store.write(lambda tx: tx.execute(sql, hash_of(code), label, max_uses, created_by, now, expires_at))
        return code

    async def _make(self, login: str, password: str, admit: _Admit) -> User:
        """Make a user and its password in one transaction with what admits it."""
        try:
            norm = normal_login(login)
            check_new_password(password, norm)
        except (ValueError, PasswordRefused) as error:
            raise SignUpRefused(str(error)) from None
        hashed = await self._hasher.hash(password)
        now, account_id = self._wall_clock(), str(uuid.uuid4())

        async def work(tx: Tx) -> User:
            made = await users.find(tx, account_id)
            if made is not None:
                # Run again, because the answer to the COMMIT was lost.
                return made
            is_admin = await admit(tx, now, account_id)
            # The address is for display: nobody has verified it.
            email = norm if "@" in norm else ""
            external_id = users.LOCAL_PREFIX + account_id
            user = await users.insert(tx, external_id, now, account_id=account_id, email=email, is_admin=is_admin)
            if user is None:
                raise Conflict("A random id came twice; try again.")
            sql = (
                "INSERT INTO local_credentials (account_id, login_norm, password_hash, created_at, updated_at) "
                "VALUES ($1, $2, $3, $4, $4) ON CONFLICT (login_norm) DO NOTHING"
            )
            if not await tx.execute(sql, user.account_id, norm, hashed, now):
                raise SignUpRefused("This name is taken; choose another one.")
            return user

        return await self._store.write(work)


_Admit: TypeAlias = "Callable[[Tx, int, str], Awaitable[bool]]"


async def _open_to_all(_tx: Tx, _now: int, _used_by: str) -> bool:
    return False


async def _use_setup_token(tx: Tx, token: str, now: int, used_by: str) -> bool:
    """Use the token up; the caller becomes an administrator."""
    # Two processes may have a token each: whoever comes second must see the first one's account.
    await tx.fetch("SELECT token_hash FROM setup_tokens ORDER BY token_hash@LOCK")
    sql = (
        "UPDATE setup_tokens SET used_at = $2, used_by = $3 "
        "WHERE token_hash = $1 AND used_at IS NULL AND expires_at > $2 RETURNING token_hash"
    )
    digest = hash_of(token)
    if await tx.row(sql, digest, now, used_by) is None:
        known = await tx.row("SELECT used_at FROM setup_tokens WHERE token_hash = $1", digest)
        raise SignUpRefused(SETUP_USED if known is not None and known["used_at"] is not None else SETUP_UNKNOWN)
    if await users.any_exists(tx):
        raise SignUpRefused(SETUP_USED)
    return True


async def _use_invite(tx: Tx, code: str, now: int, used_by: str) -> bool:
    digest = hash_of(code)
    sql = (
        "UPDATE signup_invites SET used_count = used_count + 1 WHERE code_hash = $1 AND active = 1 "
        "AND used_count < max_uses AND (expires_at IS NULL OR expires_at > $2) RETURNING code_hash"
    )
    if await tx.row(sql, digest, now) is None:
        raise SignUpRefused(INVITE_USED)
    await tx.execute(
        "INSERT INTO signup_invite_uses (code_hash, account_id, created_at) VALUES ($1, $2, $3)", digest, used_by, now
    )
    return False
