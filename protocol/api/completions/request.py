"""A legacy completion request: its prompt becomes one message of the user, or stays as it is.

Usually the model's chat template is applied, so an answer is a reply to the prompt. With `raw: true` the model gets the
very prompt, and continues it; that takes a provider that can.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from protocol.api import parameters
from protocol.api.chat_request import parse_chat_request
from protocol.api.errors import ApiError, invalid_request, renamed
from protocol.api.opened import MAX_BODY_BYTES, open_body

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from protocol.api.chat_request import ChatRequest

MEMBER_NAMES: Final[Mapping[str, str]] = {"messages": "prompt"}
"""What this dialect calls the members that a later check may blame; see `renamed`."""

_OWN: Final = frozenset({"best_of", "echo", "logprobs", "prompt", "raw", "suffix"})
_OF_CHAT: Final = ("functions", "messages", "tools")


def parse_completion_request(
    body: bytes, *, check_model: Callable[[str], None] | None = None, limit_bytes: int = MAX_BODY_BYTES
) -> ChatRequest:
    """Read, check and lower a body; see `parse_chat_request` for the arguments and the errors."""
    fields, values, _ = open_body(body, check_model=check_model, limit_bytes=limit_bytes)
    parameters.output_bound(values)
    _check_unsupported(values)
    prompt = _prompt(values.get("prompt"))
    raw = values.get("raw")
    if not isinstance(raw, bool | None):
        raise invalid_request("raw must be true or false.", param="raw")
    if raw and not prompt:
        raise invalid_request("A raw prompt must not be empty: there is nothing to continue.", param="prompt")
    lowered: dict[str, object] = {name: raw for name, raw in fields.items() if name not in _OWN}
    lowered["messages"] = [{"role": "user", "content": prompt}]
    try:
        chat = parse_chat_request(msgspec.json.encode(lowered), limit_bytes=limit_bytes)
    except ApiError as error:
        raise renamed(error, MEMBER_NAMES) from None
    return chat.with_raw_prompt(prompt) if raw else chat


def _prompt(value: object) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise invalid_request(
            "prompt must be one string, alone or in an array; send several prompts as several requests, and text "
            "instead of tokens.",
            param="prompt",
        )
    return value


def _check_unsupported(values: Mapping[str, object]) -> None:
    """Refuse what a chat template cannot do; the values that mean "off" pass. Raises ApiError 400."""
    if values.get("suffix") not in (None, ""):
        raise invalid_request("suffix is not supported; leave it out.", param="suffix")
    if values.get("echo") not in (None, False):
        raise invalid_request("echo is not supported; put the prompt before the answer yourself.", param="echo")
    best_of = values.get("best_of")
    if best_of is not None and not (parameters.is_whole(best_of) and best_of in (0, 1)):
        raise invalid_request("best_of must be 1; send several requests for several answers.", param="best_of")
    logprobs = values.get("logprobs")
    if logprobs is not None and not (parameters.is_whole(logprobs) and logprobs == 0) and logprobs is not False:
        raise invalid_request("logprobs is not supported here; use /v1/chat/completions.", param="logprobs")
    for name in _OF_CHAT:
        if values.get(name):
            raise invalid_request(f"{name} belongs to /v1/chat/completions; leave it out here.", param=name)
