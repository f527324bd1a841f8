"""When a cookie counts: in same-origin requests, and for unsafe methods with proof that our own page sent them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from protocol.api.errors import ApiError

COOKIE: Final = "db_sess"
MAX_AGE_SECONDS: Final = 90 * 86_400
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST: Final = re.compile(r"[A-Za-z0-9._\-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?", re.ASCII)
_USUAL_PORTS: Final = {"http": ":80", "https": ":443"}
_SAME: Final = frozenset({"same-origin", "none"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserFacts:
    """What a request says of where it comes from; `own_origins` are ours, the rest are header values or empty."""

    method: str
    own_origins: frozenset[str]
    origin: str = ""
    fetch_site: str = ""
    csrf: str = ""

    @property
    def is_same_origin(self) -> bool:
        """Whether nothing says that another site sent the request."""
        if self.fetch_site and self.fetch_site not in _SAME:
            return False
        return not self.origin or self.origin in self.own_origins

    def check_csrf(self) -> None:
        """Raise ApiError 403 `csrf_failed` for an unsafe method without the header and without a same-origin proof."""
        if self.method in SAFE_METHODS:
            return
        proven = self.fetch_site in _SAME if self.fetch_site else self.origin != "" and self.origin in self.own_origins
        if self.csrf != "1" or not proven or not self.is_same_origin:
            text = "This request did not come from our own page; reload the page and try again."
            raise ApiError(403, "csrf_failed", text)


def own_origin(scheme: str, host: str) -> str:
    """Give the origin that a request was sent to by its scheme and `Host`; empty if that is no host."""
    if _HOST.fullmatch(host) is None:
        return ""
    # Browsers leave the usual port out of an origin; proxies may have added it to the host.
    return f"{scheme}://{host.lower().removesuffix(_USUAL_PORTS.get(scheme, ':'))}"


def session_cookie(header: str) -> str:
    """Give the value of our cookie in a `Cookie` header; empty without it, or when it is there more than once."""
    values = [
        value.strip()
        for name, _, value in (part.partition("=") for part in header.split(";"))
        if name.strip() == COOKIE
    ]
    return values[0] if len(values) == 1 else ""


def cookie_header(value: str, *, secure: bool, max_age_seconds: int = MAX_AGE_SECONDS) -> str:
    """Give the `Set-Cookie` value of a session; an empty value with age 0 takes the cookie away."""
    parts = [f"{COOKIE}={value}", "Path=/", f"Max-Age={max_age_seconds}", "HttpOnly", "SameSite=Lax"]
    return "; ".join([*parts, "Secure"] if secure else parts)
