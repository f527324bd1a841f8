"""Wire messages: one struct for each frame, one module for each direction."""

from protocol.messages.from_provider import FROM_PROVIDER, FromProvider
from protocol.messages.to_provider import TO_PROVIDER, ToProvider

__all__ = ["FROM_PROVIDER", "TO_PROVIDER", "FromProvider", "ToProvider"]
