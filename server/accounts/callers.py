"""Who sent a request: the bearer token, `x-api-key`, or the cookie of a browser session, in this order.

Whoever fails too often from one network is turned away before anything is looked up; known good tokens are not.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, Protocol

from protocol.api.errors import ApiError
from server.accounts import users
from server.accounts.bearer import user_identity
from server.accounts.browser import BrowserFacts, own_origin, session_cookie
from server.accounts.credentials import HEX_64
from server.accounts.ports import AuthRefusal, Identity
from server.accounts.suspension import account_suspended

if TYPE_CHECKING:
    from server.accounts.bearer import BearerDirectory
    from server.accounts.ports import RefusalCode
    from server.accounts.users import AdminRule, User
    from server.accounts.web_sessions import WebSession, WebSessions
    from server.limits.network import NetworkLimits
    from server.store import Store

MAX_TOKEN_CHARACTERS: Final = 4096
TYPE: Final = "authentication_error"
REFUSAL_TEXTS: Final[dict[RefusalCode, str]] = {
    "invalid_api_key": "This API key is not known; check it, or make a new one.",
    "key_disabled": "This API key is disabled; enable it or use another one.",
    "key_expired": "This API key has expired; make a new one.",
    "key_revoked": "This API key was revoked; make a new one.",
    "invalid_token": "This is not a valid Privy token, or it has expired; sign in again.",
}


class HeaderReader(Protocol):
    """Headers of a request, by name in any case."""

    def get(self, name: str, default: str, /) -> str:
        """Give the value, or `default`."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A token and the header that it came in; empty text means none."""

    kind: Literal["bearer", "x-api-key", "none"]
    token: str = field(default="", repr=False)


_NO_CREDENTIAL: Final = Credential("none")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """What is needed of a request to know its caller; `cookie` is the value of the session cookie or empty."""

    authorization: str = field(default="", repr=False)
    api_key: str = field(default="", repr=False)
    cookie: str = field(default="", repr=False)
    ip: str
    browser: BrowserFacts

    def credential(self) -> Credential:
        """Give the token of `Authorization: Bearer` in any case, else that of `x-api-key`."""
        return credential_of(self.authorization, self.api_key)


def credential_of(authorization: str, api_key: str) -> Credential:
    """Give the token of `Authorization: Bearer` in any case, else that of `x-api-key`, by the values of the headers."""
    scheme, _, rest = authorization.strip().partition(" ")
    token = rest.strip() if scheme.lower() == "bearer" else ""
    if token:
        return Credential("bearer", token)
    token = api_key.strip()
    return Credential("x-api-key", token) if token else _NO_CREDENTIAL


def request_facts(
    headers: HeaderReader, *, method: str, scheme: str, ip: str, origins: frozenset[str] = frozenset()
) -> RequestFacts:
    """Read the facts from a request's headers. `origins` are ours beside the one that the request was sent to;
    `scheme` and `ip` are those of the client, behind trusted proxies.
    """
    return RequestFacts(
        authorization=headers.get("Authorization", ""),
        api_key=headers.get("x-api-key", ""),
        cookie=session_cookie(headers.get("Cookie", "")),
        ip=ip,
        browser=BrowserFacts(
            method=method,
            own_origins=origins | {own_origin(scheme, headers.get("Host", ""))},
            origin=headers.get("Origin", ""),
            fetch_site=headers.get("Sec-Fetch-Site", ""),
            csrf=headers.get("X-CSRF", ""),
        ),
    )


def refused(refusal: AuthRefusal) -> ApiError:
    """Give the 401 of a token that is no good; one that was good once says what became of it.

    403 where the token is good and the account is suspended.
    """
    if refusal.code == "account_suspended":
        return account_suspended()
    plain = refusal.code in ("invalid_api_key", "invalid_token")
    return ApiError(401, TYPE, REFUSAL_TEXTS[refusal.code], code=None if plain else refusal.code)


def missing() -> ApiError:
    """Give the 401 of a request without credentials."""
    return ApiError(401, TYPE, "The request is missing credentials; send 'Authorization: Bearer KEY', or sign in.")


class Callers:
    """Finds the caller of a request; raises ApiError 401, 403 or 429, and StoreUnavailable."""

    def __init__(
        self,
        *,
        store: Store,
        bearer: BearerDirectory,
        sessions: WebSessions,
        limits: NetworkLimits,
        is_admin: AdminRule,
    ) -> None:
        self._store = store
        self._bearer = bearer
        self._sessions = sessions
        self._limits = limits
        self._is_admin = is_admin

    async def identify_call(
        self, headers: HeaderReader, *, method: str, scheme: str, ip: str, origins: frozenset[str] = frozenset()
    ) -> Identity:
        """Like `identify`, from the headers themselves: the short way for API keys, which need no facts of a browser.

        A key that was seen a moment ago is answered without a checkpoint.
        """
        credential = credential_of(headers.get("Authorization", ""), headers.get("x-api-key", ""))
        if credential.kind != "none":
            return await self._by_token(credential, ip)
        return await self.identify(request_facts(headers, method=method, scheme=scheme, ip=ip, origins=origins))

    async def identify(self, facts: RequestFacts) -> Identity:
        """Give the caller of a request; one without any credential is refused."""
        found = await self.identify_or_none(facts)
        if found is None:
            raise missing()
        return found

    async def identify_or_none(self, facts: RequestFacts) -> Identity | None:
        """Give the caller of a request, or None when it names none; a bad credential is refused all the same."""
        credential = facts.credential()
        if credential.kind != "none":
            return await self._by_token(credential, facts.ip)
        return await self._by_cookie(facts)

    async def session_of(self, facts: RequestFacts) -> WebSession | None:
        """Give the browser session of a same-origin request; None without one or with one that has ended."""
        if not facts.browser.is_same_origin or HEX_64.fullmatch(facts.cookie) is None:
            return None
        return await self._sessions.find(facts.cookie)

    async def user_of(self, account_id: str) -> User | None:
        """Give the user of an account."""
        return await self._store.read(lambda tx: users.find(tx, account_id))

    async def identity_of(self, session: WebSession) -> Identity | AuthRefusal:
        """Give the rights of a browser session: those of its person, or of the key that opened it."""
        if session.mode == "key":
            found = await self._bearer.authenticate_id(session.key_id)
            return found if isinstance(found, AuthRefusal) else _in_session(found, session.token_hash)
        user = await self.user_of(session.account_id)
        if user is None:
            return AuthRefusal("invalid_token")
        if user.is_suspended:
            return AuthRefusal("account_suspended")
        return user_identity(user, is_admin=self._is_admin(user), credential="cookie", session_hash=session.token_hash)

    async def _by_token(self, credential: Credential, ip: str) -> Identity:
        if len(credential.token) > MAX_TOKEN_CHARACTERS:
            self._count_failure(ip)
            raise refused(AuthRefusal("invalid_api_key"))
        keys_only = credential.kind == "x-api-key"
        known = self._bearer.recall(credential.token, keys_only=keys_only)
        if isinstance(known, Identity):
            return known
        if self._limits.used_up("failed_bearer", ip):
            self._count_failure(ip)
        found = await self._bearer.authenticate(credential.token, keys_only=keys_only)
        if isinstance(found, AuthRefusal):
            self._count_failure(ip)
            raise refused(found)
        return found

    async def _by_cookie(self, facts: RequestFacts) -> Identity | None:
        if not facts.cookie or not facts.browser.is_same_origin:
            return None
        session = await self.session_of(facts)
        if session is None:
            self._count_failure(facts.ip)
            text = "Your sign-in has expired; sign in again."
            raise ApiError(401, TYPE, text, code="session_expired")
        facts.browser.check_csrf()
        found = await self.identity_of(session)
        if isinstance(found, AuthRefusal):
            raise refused(found)
        return found

    def _count_failure(self, ip: str) -> None:
        """Count a failed try; raises RateLimited once the network has used up its tries."""
        self._limits.take("failed_bearer", ip)


def _in_session(identity: Identity, session_hash: str) -> Identity:
    return replace(identity, session_hash=session_hash)
