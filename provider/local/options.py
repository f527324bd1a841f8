"""How the local server is run."""

import ipaddress
from dataclasses import dataclass, field
from typing import Final

MAX_BODY_BYTES: Final = 32 * 1024 * 1024
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    """`token` None asks for none. `hosts` are further names under which clients may ask."""

    bind: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    hosts: tuple[str, ...] = ()
    is_required: bool = False
    """Whether the daemon cannot do without it: then a busy port ends the start."""

    @property
    def is_public(self) -> bool:
        """Whether other machines can reach it."""
        return not is_loopback_host(self.bind)

    @property
    def shown_host(self) -> str:
        """The host that clients on this machine use."""
        return _ANY.get(self.bind, self.bind)

    def base_url(self, port: int) -> str:
        """Where clients on this machine find it."""
        host = self.shown_host
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback_host(host: str) -> bool:
    """Whether a host, without port, means this machine alone."""
    name = host.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_allowed_host(header: str, options: LocalOptions) -> bool:
    """Whether a `Host` header names this server; a page that rebinds its own name to 127.0.0.1 does not.

    Where other machines are served, they may use any of this machine's addresses: an address cannot be rebound.
    """
    name = _without_port(header).lower()
    if not name:
        return False
    if options.is_public and _is_address(name):
        return True
    known = {options.bind.lower(), *(host.lower() for host in options.hosts)}
    return is_loopback_host(name) or name in known


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_own_origin(origin: str) -> bool:
    """Whether a browser's `Origin` header comes from a page of this machine."""
    _scheme, found, rest = origin.partition("://")
    return bool(found) and is_loopback_host(_without_port(rest))


def _without_port(authority: str) -> str:
    authority = authority.strip()
    if authority.startswith("["):
        return authority.partition("]")[0].strip("[]")
    host, _colon, port = authority.rpartition(":")
    return host if host and port.isdigit() else authority
