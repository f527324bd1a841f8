"""Which clients share a bucket: one IPv4 address, or one IPv6 /64, which is what a single customer gets."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final

UNREADABLE: Final = "unreadable"
_V6_PREFIX: Final = 64


@lru_cache(maxsize=4096)
def bucket_key(ip: str) -> str:
    """Give the key of a client address as text; every unreadable address shares one key."""
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return UNREADABLE
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, _V6_PREFIX), strict=False))
    return str(address)
