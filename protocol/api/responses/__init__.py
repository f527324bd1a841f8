"""The Responses API: requests lowered to chat completions, answers raised from them."""

from __future__ import annotations

from protocol.api.responses.dialect import ResponsesDialect
from protocol.api.responses.request import MEMBER_NAMES, ResponsesRequest, parse_responses_request

__all__ = ["MEMBER_NAMES", "ResponsesDialect", "ResponsesRequest", "parse_responses_request"]
