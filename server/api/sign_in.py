"""The ways to sign a browser in, and what each asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from quart import request

from protocol.api.errors import ApiError
from server.accounts.browser import cookie_header
from server.accounts.callers import TYPE, refused
from server.accounts.device_login import printable
from server.accounts.local_login import SignUpRefused, normal_login
from server.accounts.passwords import PasswordRefused
from server.accounts.ports import AuthRefusal, Identity
from server.accounts.privy_tokens import TokenRefused
from server.accounts.suspension import account_suspended
from server.api.gate import client_ip, empty_answer, text_member
from server.store import NotFound

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.accounts.bearer import BearerDirectory
    from server.accounts.local_login import LocalLogin
    from server.accounts.users import User
    from server.accounts.web_sessions import OpenedSession, WebSession, WebSessions
    from server.api.gate import AccountGate

MAX_PASSWORD: Final = 1024


class SignInDesk:
    """The ways to get a cookie; each gives the answer that sets it. `local` is None where passwords do not sign in."""

    def __init__(
        self, gate: AccountGate, sessions: WebSessions, bearer: BearerDirectory, local: LocalLogin | None
    ) -> None:
        self._gate = gate
        self._sessions = sessions
        self._bearer = bearer
        self._local = local

    async def with_password(self, body: Mapping[str, object]) -> Response:
        """Sign in with a name and password; every try counts, one that succeeds is given back."""
        local = self._checked_local()
        login = text_member(body, "login", "bad_request", limit=256)
        password = text_member(body, "password", "bad_request", limit=MAX_PASSWORD)
        name, ip = _counted_name(login), client_ip()
        self._gate.limits.take_sign_in(name, ip)
        user = await local.sign_in(login, password)
        if user is None:
            raise ApiError(401, TYPE, "The name or the password is wrong.", code="invalid_login")
        self._gate.limits.give_back_sign_in(name, ip)
        _require_good_standing(user)
        return await self._open_local(user)

    async def with_key(self, body: Mapping[str, object]) -> Response:
        """Open a session that has the rights of an API key."""
        key = text_member(body, "key", "bad_request").strip()
        if self._gate.limits.used_up("failed_bearer", client_ip()):
            self._gate.limits.take("failed_bearer", client_ip())
        found = await self._bearer.authenticate(key, keys_only=True)
        if isinstance(found, AuthRefusal):
            self._gate.limits.take("failed_bearer", client_ip())
            refusal = refused(found)
            if refusal.status == 403:
                raise refusal
            raise ApiError(401, TYPE, "That key is not valid any more.", code=refusal.code)
        opened = await self._sessions.open(
            found.account_id, "key", key_id=found.key_id, label=_browser(), replaces=await self._current()
        )
        return _signed_in(opened)

    async def with_privy(self, body: Mapping[str, object]) -> Response:
        """Exchange an identity token for a session."""
        privy = self._bearer.privy
        if privy is None:
            raise ApiError(503, "not_configured", "Sign-in with Privy is not set up here.", retryable=False)
        token = text_member(body, "token", "bad_request")
        try:
            user = await privy.user_of(token.strip())
        except TokenRefused:
            self._gate.limits.take("failed_bearer", client_ip())
            raise refused(AuthRefusal("invalid_token")) from None
        _require_good_standing(user)
        opened = await self._sessions.open(user.account_id, "privy", label=_browser(), replaces=await self._current())
        return _signed_in(opened)

    async def sign_up(self, body: Mapping[str, object]) -> Response:
        """Make a local account, the first one with a set-up token, and sign it in."""
        local = self._checked_local()
        login = text_member(body, "login", "bad_request", limit=256)
        password = text_member(body, "password", "bad_request", limit=MAX_PASSWORD)
        self._gate.limits.take_sign_in(f"sign-up {client_ip()}", client_ip())
        setup, invite = body.get("setup"), body.get("invite")
        try:
            if isinstance(setup, str) and setup:
                user = await local.set_up(setup, login, password)
            else:
                user = await local.join(login, password, invite if isinstance(invite, str) else "")
        except SignUpRefused as error:
            raise ApiError(400, "bad_request", str(error), code="signup_refused") from None
        return await self._open_local(user)

    async def change_password(self, person: Identity, body: Mapping[str, object]) -> Response:
        """Set a new password; all sessions of the account end, this browser gets a new one."""
        local = self._checked_local()
        if not person.session_hash:
            raise ApiError(403, "forbidden", "A password is changed in the browser that is signed in.")
        old = text_member(body, "old_password", "bad_request", limit=MAX_PASSWORD)
        new = text_member(body, "new_password", "bad_request", limit=MAX_PASSWORD)
        name = f"password of {person.account_id}"
        self._gate.limits.take_sign_in(name, client_ip())
        try:
            opened = await local.change_password(person.account_id, old, new, label=_browser())
        except PasswordRefused as error:
            raise ApiError(400, "bad_request", str(error), param="new_password") from None
        except NotFound as error:
            raise ApiError(404, "not_found", str(error)) from None
        if opened is None:
            raise ApiError(401, TYPE, "The old password is wrong.", code="invalid_login")
        self._gate.limits.give_back_sign_in(name, client_ip())
        return _signed_in(opened)

    async def display(self, session: WebSession, identity: Identity) -> str:
        """Give a name for the corner of the page."""
        if session.mode == "key":
            return f"key {identity.key_id}"
        name = await self._local.name_of(session.account_id) if self._local is not None else None
        user = await self._gate.callers.user_of(session.account_id) if name is None else None
        return name or (user.email if user is not None else "") or f"account {session.account_id[:8]}"

    async def _open_local(self, user: User) -> Response:
        replaces = await self._current()
        return _signed_in(await self._sessions.open(user.account_id, "local", label=_browser(), replaces=replaces))

    async def _current(self) -> str:
        """Give the hash of the session that the browser has; a sign-in ends it."""
        session = await self._gate.callers.session_of(self._gate.facts())
        return "" if session is None else session.token_hash

    def _checked_local(self) -> LocalLogin:
        if self._local is None:
            raise ApiError(404, "not_found", "Sign-in with a password is switched off here.")
        return self._local


def _counted_name(login: str) -> str:
    """Give the name under which tries are counted: one for all spellings of an account's name."""
    try:
        return normal_login(login)
    except ValueError:
        return "no name"


def _require_good_standing(user: User) -> None:
    if user.is_suspended:
        raise account_suspended()


def signed_out() -> Response:
    """Take the cookie away."""
    return empty_answer({"Set-Cookie": cookie_header("", secure=_secure(), max_age_seconds=0)})


def _signed_in(opened: OpenedSession) -> Response:
    return empty_answer({"Set-Cookie": cookie_header(opened.cookie, secure=_secure())})


def _secure() -> bool:
    return request.scheme == "https"


def _browser() -> str:
    """Describe the browser for the list of sessions."""
    return printable(request.headers.get("User-Agent", ""), 100)
