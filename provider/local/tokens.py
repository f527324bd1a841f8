"""Looking at prompts as the model sees them: tokens, text, and the rendered template."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol, cast

import msgspec

from protocol.api.errors import ApiError, invalid_request
from provider.engine import LoadedModel
from provider.local.dialects import CheckModel
from provider.local.http_server import Whole
from provider.local.inference import JSON
from provider.models.prompt import PromptRefused, encode_text, render_chat
from provider.requests.messages import normalise_messages
from provider.requests.refusal import RequestRefused
from provider.requests.tool_schema import normalise_tools

Look = Callable[[LoadedModel], object]
WithModel = Callable[[str, Look], Awaitable[object]]
"""Loads a model if needed, keeps it, and runs a function of it on the one thread that may use tokenizers."""

_MAX_TOKENS = 1_000_000


class _Decoding(Protocol):
    def decode(self, ids: list[int]) -> str:
        """Text of the tokens."""


class TokenTools:
    """`POST /tokenize`, `/detokenize` and `/apply-template`; each raises `ApiError`."""

    def __init__(self, with_model: WithModel, only_model: Callable[[], str]) -> None:
        self._with_model = with_model
        self._only_model = only_model

    async def tokenize(self, body: bytes, check_model: CheckModel) -> Whole:
        """Tokens of `prompt`, or of `messages` as the template renders them."""
        model, fields = self._read(body, check_model)
        if "messages" in fields:
            tokens = await self._with_model(model, partial(_render_tokens, fields))
        else:
            text = fields.get("prompt", fields.get("content"))
            if not isinstance(text, str):
                raise invalid_request("prompt must be a text.", param="prompt")
            tokens = await self._with_model(model, lambda loaded: encode_text(loaded, text).tokens)
        found = cast(tuple[int, ...], tokens)
        context = await self._with_model(model, lambda loaded: loaded.context_tokens)
        return _json({"model": model, "tokens": list(found), "count": len(found), "max_model_len": context})

    async def detokenize(self, body: bytes, check_model: CheckModel) -> Whole:
        """Text of `tokens`."""
        model, fields = self._read(body, check_model)
        tokens = fields.get("tokens")
        if not isinstance(tokens, list) or len(tokens) > _MAX_TOKENS or not all(_is_id(token) for token in tokens):
            raise invalid_request("tokens must be a list of token ids.", param="tokens")

        def decode(loaded: LoadedModel) -> str:
            if any(token >= loaded.logits_size for token in tokens):
                raise invalid_request("tokens holds an id that the model does not have.", param="tokens")
            return cast(_Decoding, loaded.tokenizer).decode(tokens)

        return _json({"model": model, "prompt": await self._with_model(model, decode)})

    async def apply_template(self, body: bytes, check_model: CheckModel) -> Whole:
        """`messages` as the model's template writes them."""
        model, fields = self._read(body, check_model)

        def render(loaded: LoadedModel) -> str:
            tokens = _render_tokens(fields, loaded)
            return cast(_Decoding, loaded.tokenizer).decode(list(tokens))

        return _json({"model": model, "prompt": await self._with_model(model, render)})

    def _read(self, body: bytes, check_model: CheckModel) -> tuple[str, dict[str, Any]]:
        try:
            fields = msgspec.json.decode(body or b"{}", type=dict[str, Any])
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise invalid_request("The body is no JSON object.") from None
        model = fields.get("model") or self._only_model()
        if not isinstance(model, str) or not model:
            raise invalid_request("model must be a non-empty string.", param="model")
        check_model(model)
        return model, fields


def _render_tokens(fields: dict[str, Any], loaded: LoadedModel) -> tuple[int, ...]:
    messages, tools = fields.get("messages"), fields.get("tools") or []
    if not isinstance(messages, list) or not isinstance(tools, list):
        raise invalid_request("messages must be a list of objects.", param="messages")
    try:
        rendered = render_chat(
            loaded,
            normalise_messages([dict(entry) for entry in messages]),
            tools=normalise_tools([dict(entry) for entry in tools]),
        )
    except (RequestRefused, TypeError, ValueError):
        raise invalid_request("messages are not understood; check roles and content.", param="messages") from None
    except PromptRefused as refused:
        raise ApiError(400, "invalid_request_error", str(refused), code=refused.reason) from None
    return rendered.tokens


def _is_id(token: object) -> bool:
    return isinstance(token, int) and not isinstance(token, bool) and token >= 0


def _json(content: dict[str, object]) -> Whole:
    return Whole(200, msgspec.json.encode(content), JSON)
