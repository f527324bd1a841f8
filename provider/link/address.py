"""Where the coordinator is, and whether a link there may go without encryption; pure."""

import ipaddress
from typing import Final, NamedTuple
from urllib.parse import urlsplit

DEFAULT_PATH: Final = "/ws/provider"
_SECURE: Final = {"wss": True, "https": True, "ws": False, "http": False}
_PORTS: Final = {True: 443, False: 80}


class AddressRefused(Exception):
    """The coordinator's address cannot be used; the text names it and the remedy."""


class LinkAddress(NamedTuple):
    """`host_header` is what the upgrade request names; `path` includes a query."""

    host: str
    port: int
    path: str
    is_secure: bool

    @property
    def host_header(self) -> str:
        """Host as HTTP writes it: without the scheme's own port, IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.is_secure] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{'wss' if self.is_secure else 'ws'}://{self.host_header}{self.path}"


def parse_address(url: str, *, allow_insecure: bool) -> LinkAddress:
    """Read a ws, wss, http or https URL; without a path the provider endpoint is meant.

    An unencrypted link leaves this machine only with `allow_insecure`: bodies are sealed, but who asks how much is not.
    Raises `AddressRefused`.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        host.encode("idna")
    except ValueError:
        host = ""
    if not host or parts.scheme not in _SECURE:
        raise AddressRefused(f"The coordinator address {url!r} is not usable; write for example wss://host.")
    try:
        port = parts.port
    except ValueError:
        raise AddressRefused(f"The coordinator address {url!r} has no usable port; use one from 1 to 65535.") from None
    if parts.username or parts.password:
        raise AddressRefused("The coordinator address must not hold a user name or password; remove them.")
    secure = _SECURE[parts.scheme]
    if not secure and not allow_insecure and not is_loopback(host):
        raise AddressRefused(
            f"The coordinator address {url!r} would send traffic unencrypted to another machine; use wss://, or set "
            "DARKBLOOM_ALLOW_INSECURE_LINK=true in a closed test network."
        )
    path = parts.path if parts.path not in ("", "/") else DEFAULT_PATH
    return LinkAddress(host, port or _PORTS[secure], path + (f"?{parts.query}" if parts.query else ""), secure)


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    if host.lower() == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
