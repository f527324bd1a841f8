"""URLs of media, read so strictly that no two readers can disagree about their host. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from server.media.refusals import bad_url, blocked

MAX_CHARACTERS: Final = 8192

_PORTS: Final = {"http": 80, "https": 443}
_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f\\]")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_HOST: Final = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
_NUMBER_LABEL: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


class MediaUrl(NamedTuple):
    """Where to connect, and what to ask for. `host` is a lower-case name or a literal address, without brackets."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def tls(self) -> bool:
        """The connection is encrypted."""
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """The value of the `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def text(self) -> str:
        """The URL again."""
        return f"{self.scheme}://{self.authority}{self.target}"


def check_url(text: str) -> MediaUrl:
    """Read a URL; raises ApiError 400, and 403 for a host that is an address in disguise."""
    if len(text) > MAX_CHARACTERS or _FORBIDDEN.search(text):
        raise bad_url("invalid_media_url")
    if _SCHEME.match(text) is None:
        raise bad_url("invalid_media_url")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise bad_url("invalid_media_url") from None
    if parts.scheme not in _PORTS:
        raise bad_url("media_invalid_scheme")
    if "@" in parts.netloc or not parts.hostname or port == 0:
        raise bad_url("invalid_media_url")
    target = quote(parts.path or "/", safe="/%!$&'()*+,;=:@~-._")
    if not target.startswith("/"):
        raise bad_url("invalid_media_url")
    if parts.query:
        target += "?" + quote(parts.query, safe="/?%!$&'()*+,;=:@~-._[]{}|^`")
    return MediaUrl(parts.scheme, _host(parts.hostname), port or _PORTS[parts.scheme], target)


def follow(base: MediaUrl, location: str) -> MediaUrl:
    """Where a redirect leads; raises ApiError as `check_url`."""
    if len(location) > MAX_CHARACTERS or _FORBIDDEN.search(location):
        raise bad_url("invalid_media_url")
    try:
        return check_url(urljoin(base.text(), location))
    except ValueError:
        raise bad_url("invalid_media_url") from None


def _host(text: str) -> str:
    if ":" in text:
        try:
            return str(ipaddress.IPv6Address(text))
        except ValueError:
            raise bad_url("invalid_media_url") from None
    try:
        name = text.lower() if text.isascii() else text.encode("idna").decode().lower()
    except UnicodeError:
        raise bad_url("invalid_media_url") from None
    if len(name) > 253 or _HOST.fullmatch(name) is None:
        raise bad_url("invalid_media_url")
    if _NUMBER_LABEL.fullmatch(name.rstrip(".").rsplit(".", 1)[-1]):
        # Resolvers read 2130706433, 0x7f.1 and 0177.0.0.1 as addresses: only the one plain spelling is taken.
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            raise blocked() from None
    return name
