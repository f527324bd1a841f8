"""The few calls that the coordinator makes to Privy: a user's address, and one-time codes by e-mail.

No call is made inside a database transaction. Bodies are bounded, foreign text is never passed on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import httpx
import msgspec

from protocol.authorities import trusted_authorities
from server.accounts.bounded_http import CallFailed, call
from server.accounts.privy_failures import CodeRefused, NoSuchUser, PrivyUnavailable
from server.accounts.users import looks_like_email

if TYPE_CHECKING:
    from protocol.settings import Secret

TIMEOUT_SECONDS: Final = 10.0
MAX_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class PrivyAddress:
    """How to reach Privy as one app."""

    base_url: str
    app_id: str
    app_secret: Secret


def privy_client() -> httpx.AsyncClient:
    """Make the HTTP client of the identity provider: short timeouts, few connections, no redirects."""
    return httpx.AsyncClient(
        timeout=TIMEOUT_SECONDS,
        limits=httpx.Limits(max_connections=8, max_keepalive_connections=2),
        verify=trusted_authorities(),
    )


class PrivyApi:
    """Calls with the app's credentials; raises PrivyUnavailable."""

    def __init__(self, address: PrivyAddress, client: httpx.AsyncClient) -> None:
        self._address = address
        self._client = client

    async def email_of(self, did: str) -> str:
        """Give the verified address of a user, empty when there is none; raises NoSuchUser."""
        status, body = await self._call("GET", f"/api/v1/users/{quote(did, safe='')}")
        if status == 404:
            raise NoSuchUser
        linked = body.get("linked_accounts") if status == 200 else None
        if not isinstance(linked, list):
            raise PrivyUnavailable
        for account in linked:
            if isinstance(account, dict) and account.get("type") == "email":
                email = account.get("address")
                if isinstance(email, str) and looks_like_email(email):
                    return email
        return ""

    async def send_code(self, email: str) -> None:
        """Have a one-time code sent."""
        status, _ = await self._call("POST", "/api/v1/passwordless/init", {"email": email})
        if status >= 400:
            raise PrivyUnavailable

    async def sign_in(self, email: str, code: str) -> str:
        """Exchange a one-time code for an access token; raises CodeRefused."""
        status, body = await self._call("POST", "/api/v1/passwordless/authenticate", {"email": email, "code": code})
        if 400 <= status < 500 and status != 429:
            raise CodeRefused
        token = body.get("token")
        if status != 200 or not isinstance(token, str) or not token:
            raise PrivyUnavailable
        return token

    async def _call(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, object]]:
        address = self._address
        url = address.base_url.rstrip("/") + path
        content = None if body is None else msgspec.json.encode(body)
        headers = {"privy-app-id": address.app_id, "content-type": "application/json"}
        auth = httpx.BasicAuth(address.app_id, address.app_secret.reveal())
        try:
            status, received = await call(
                self._client, method, url, max_bytes=MAX_BYTES, content=content, headers=headers, auth=auth
            )
            decoded = msgspec.json.decode(received) if received else {}
        except (CallFailed, msgspec.DecodeError):
            raise PrivyUnavailable from None
        return status, decoded if isinstance(decoded, dict) else {}
