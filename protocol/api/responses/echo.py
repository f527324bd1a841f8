"""What a response object repeats of its request, each on one line: an event cannot hold line ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from protocol.api.errors import invalid_request
from protocol.api.exact_json import encode_exact

MAX_MEMBER_BYTES: Final = 256 * 1024
"""A longer member is not repeated: a stream repeats it three times."""

_DEFAULTS: Final[Mapping[str, object]] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": None,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "user": None,
}


def echo_of(values: Mapping[str, object]) -> dict[str, object]:
    """The members in the caller's own form, numbers digit for digit; what was not sent has its default.

    `values` are the decoded members of a request that was lowered. Raises ApiError 400 for `metadata` or `user` of a
    wrong type.
    """
    if not isinstance(values.get("metadata"), dict | None):
        raise invalid_request("metadata must be an object.", param="metadata")
    if not isinstance(values.get("user"), str | None):
        raise invalid_request("user must be a string.", param="user")
    shown: dict[str, object] = {}
    for name, default in _DEFAULTS.items():
        given = values.get(name)
        if given is not None and isinstance(default, dict) and isinstance(given, dict):
            given = {**default, **given}
        encoded = encode_exact(default if given is None else given)
        shown[name] = msgspec.Raw(encoded if len(encoded) <= MAX_MEMBER_BYTES else encode_exact(default))
    return shown
