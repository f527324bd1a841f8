"""The legacy completions API: requests lowered to chat completions, answers raised from them."""

from __future__ import annotations

from protocol.api.completions.dialect import COMPLETIONS, CompletionsDialect
from protocol.api.completions.request import MEMBER_NAMES, parse_completion_request

__all__ = ["COMPLETIONS", "MEMBER_NAMES", "CompletionsDialect", "parse_completion_request"]
