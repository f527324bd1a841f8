"""The Anthropic dialect: a Messages body lowered to a chat request, a provider's output raised to a message."""

from __future__ import annotations

from protocol.api.anthropic.dialect import MessagesDialect
from protocol.api.anthropic.errors import anthropic_envelope
from protocol.api.anthropic.request import MEMBER_NAMES, LoweredMessages, lower_messages

__all__ = ["MEMBER_NAMES", "LoweredMessages", "MessagesDialect", "anthropic_envelope", "lower_messages"]
