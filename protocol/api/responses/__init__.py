"""The Responses API: requests lowered to chat completions, answers raised from them."""

from __future__ import annotations

from protocol.api.responses.dialect import ResponsesDialect
from protocol.api.responses.request import ResponsesRequest, parse_responses_request

__all__ = ["ResponsesDialect", "ResponsesRequest", "parse_responses_request"]
