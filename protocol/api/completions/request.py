"""A legacy completion request: its prompt becomes one message of the user.

The model's chat template is applied, so an answer is a reply to the prompt, not a raw continuation of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from protocol.api import parameters
from protocol.api.chat_request import MAX_BODY_BYTES, parse_chat_request
from protocol.api.errors import ApiError, invalid_request, payload_too_large
from protocol.api.exact_json import decode_exact, split_object

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from protocol.api.chat_request import ChatRequest

_OWN: Final = frozenset({"best_of", "echo", "logprobs", "prompt", "suffix"})
_OF_CHAT: Final = ("functions", "messages", "tools")


def parse_completion_request(
    body: bytes, *, check_model: Callable[[str], None] | None = None, limit_bytes: int = MAX_BODY_BYTES
) -> ChatRequest:
    """Read, check and lower a body; see `parse_chat_request` for the arguments and the errors."""
    if len(body) > limit_bytes:
        raise payload_too_large(limit_bytes)
    fields = split_object(body)
    values = {name: decode_exact(raw) for name, raw in fields.items()}
    model = values.get("model")
    if not isinstance(model, str) or not model.strip():
        raise invalid_request("model must be a non-empty string.", param="model")
    if check_model is not None:
        check_model(model)
    parameters.output_bound(values)
    prompt = _prompt(values.get("prompt"))
    _check_unsupported(values)
    lowered: dict[str, object] = {name: raw for name, raw in fields.items() if name not in _OWN}
    lowered["messages"] = [{"role": "user", "content": prompt}]
    try:
        return parse_chat_request(msgspec.json.encode(lowered), limit_bytes=limit_bytes)
    except ApiError as error:
        if error.param == "messages":
            error.param = "prompt"
        raise


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
