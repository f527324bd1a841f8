"""The provider link: one WebSocket session per provider, over the raw stream that the listener hands over."""

from __future__ import annotations

from server.link.context import LinkContext
from server.link.link import ProviderLink
from server.link.meter import CountingMeter, LinkEvent, LinkMeter
from server.link.settings import LinkSettings
from server.link.writer import WriterLimits

__all__ = [
    "CountingMeter",
    "LinkContext",
    "LinkEvent",
    "LinkMeter",
    "LinkSettings",
    "ProviderLink",
    "WriterLimits",
]
