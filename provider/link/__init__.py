"""The connection to the coordinator."""

from provider.link.address import AddressRefused, LinkAddress, parse_address
from provider.link.client import CoordinatorLink
from provider.link.ports import ProviderPort
from provider.link.status import LinkStatus
from provider.link.timing import LinkTiming

__all__ = [
    "AddressRefused",
    "CoordinatorLink",
    "LinkAddress",
    "LinkStatus",
    "LinkTiming",
    "ProviderPort",
    "parse_address",
]
