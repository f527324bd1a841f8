"""Which addresses are public. Pure.

What is not plainly a public unicast address is refused, also where another address is wrapped in it.
"""

from __future__ import annotations

import ipaddress
from typing import Final

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_MORE_V4: Final = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # shared by carriers (RFC 6598); some clouds answer with metadata there
        "192.0.0.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.175.48.0/24",
        "198.18.0.0/15",
        "240.0.0.0/4",
        "168.63.129.16/32",  # the host of a virtual machine in Azure, at a public address
    )
)
_MORE_V6: Final = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "::/96",  # IPv4-compatible
        "64:ff9b::/96",  # NAT64 (RFC 6052)
        "64:ff9b:1::/48",  # local NAT64 (RFC 8215)
        "100::/64",
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fec0::/10",
    )
)
_UNICAST: Final = ipaddress.IPv6Network("2000::/3")


def is_public(text: str) -> bool:
    """True for an address on the public internet; False for every other, and for what is no address."""
    try:
        address: _Address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        # A zone names an interface of this machine; a mapped address is an IPv4 address under another name.
        if address.scope_id is not None or address.ipv4_mapped is not None or address not in _UNICAST:
            return False
        if any(address in network for network in _MORE_V6):
            return False
    elif any(address in network for network in _MORE_V4):
        return False
    return address.is_global and not (
        address.is_multicast
        or address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_reserved
        or address.is_unspecified
    )
