"""Who the client is behind trusted proxies: address and scheme, as a pure function of peer and headers."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Scheme: TypeAlias = Literal["http", "https"]

# What a proxy says about its client; without any of them a peer is the client, whoever it is.
FORWARDING_HEADERS: Final = frozenset({b"x-forwarded-for", b"x-real-ip", b"x-forwarded-proto"})

LOOPBACK_NETWORKS: tuple[IpNetwork, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


@dataclass(frozen=True, slots=True)
class ClientAddress:
    """The resolved client: `ip` in its shortest text form, and the scheme that the client used."""

    ip: str
    scheme: Scheme

    @property
    def is_loopback(self) -> bool:
        """True when the client itself sits on this machine."""
        parsed = parse_ip(self.ip)
        return parsed is not None and parsed.is_loopback


@lru_cache(maxsize=4096)
def parse_ip(text: str) -> IpAddress | None:
    """Return the address in `text` (ports, brackets and zones are dropped, mapped IPv4 unwrapped), or None."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed


def resolve_client(
    peer: str, *, tls: bool, headers: Sequence[tuple[bytes, bytes]], trusted: Sequence[IpNetwork]
) -> ClientAddress:
    """Return the client behind `peer`.

    Forwarding headers count only when the peer is trusted. Of `X-Forwarded-For` the rightmost address that is no
    trusted proxy is the client; an unreadable entry ends the walk at the last proxy that could be read. Without it
    `X-Real-IP` counts. `X-Forwarded-Proto` gives the scheme by its last value.
    """
    own_scheme: Scheme = "https" if tls else "http"
    address = parse_ip(peer)
    if address is None:
        return ClientAddress(peer, own_scheme)
    if not _is_trusted(address, trusted):
        return ClientAddress(str(address), own_scheme)
    forwarded = _list_values(headers, b"x-forwarded-for")
    if forwarded:
        address = _walk(address, forwarded, trusted)
    else:
        real = _list_values(headers, b"x-real-ip")
        address = (parse_ip(real[-1]) if real else None) or address
    protocols = _list_values(headers, b"x-forwarded-proto")
    claimed = protocols[-1].lower() if protocols else own_scheme
    return ClientAddress(str(address), "https" if claimed in ("https", "wss") else "http")


def _walk(peer: IpAddress, forwarded: list[str], trusted: Sequence[IpNetwork]) -> IpAddress:
    current = peer
    for text in reversed(forwarded):
        hop = parse_ip(text)
        if hop is None:
            return current
        current = hop
        if not _is_trusted(hop, trusted):
            return hop
    return current


def _is_trusted(address: IpAddress, trusted: Sequence[IpNetwork]) -> bool:
    return any(address.version == network.version and address in network for network in trusted)


def _list_values(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [
        part.strip()
        for key, value in headers
        if key.lower() == name
        for part in value.decode("latin-1").split(",")
        if part.strip()
    ]
