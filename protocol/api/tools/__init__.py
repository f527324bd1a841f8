"""Tools of a chat request: what may be chosen, how schemas are written for chat templates, what can be enforced."""

from __future__ import annotations

from protocol.api.tools.choice import ToolChoice, read_choice
from protocol.api.tools.declared import CheckedTools, check_tools
from protocol.api.tools.history import check_history
from protocol.api.tools.legacy import lower_legacy

__all__ = ["CheckedTools", "ToolChoice", "check_history", "check_tools", "lower_legacy", "read_choice"]
