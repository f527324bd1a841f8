"""From chat messages to token ids: render the model's template, then tokenise."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, cast

from provider.engine import LoadedModel
from provider.models.boundaries import shared_beginnings

TemplateReason = Literal["jinja_channel_tags", "jinja_null_bridge", "jinja_template"]


class ChatTokenizer(Protocol):
    """The part of mlx-lm's tokenizer wrapper that rendering needs."""

    has_chat_template: bool
    apply_chat_template: Callable[..., object]

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Tokenise text."""


class PromptRefused(Exception):
    """The template did not render these messages; `reason` is the closed wire reason, the text holds no content."""

    def __init__(self, reason: TemplateReason) -> None:
        self.reason: TemplateReason = reason
        super().__init__("The model's chat template cannot render these messages; check roles, order and content.")


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """Prompt as token ids, and where beginnings end that later prompts may share, if they were asked for."""

    tokens: tuple[int, ...]
    boundaries: tuple[int, ...] = ()


def render_chat(
    model: LoadedModel,
    messages: Sequence[Mapping[str, object]],
    *,
    tools: Sequence[Mapping[str, object]] | None = None,
    template_arguments: Mapping[str, object] | None = None,
    with_boundaries: bool = False,
) -> RenderedPrompt:
    """Render normalised messages with the generation header and tokenise; blocks, so call it on a worker thread.

    `template_arguments` (for example ``enable_thinking``) go into the render context; they cannot replace our own.
    `with_boundaries` costs one more rendering, or two where there is a system prompt. Raises `PromptRefused`.
    """
    context: dict[str, object] = dict(template_arguments or {})
    if tools:
        context["tools"] = [dict(tool) for tool in tools]
    prompt = _rendered(model, messages, context, header=True)
    if not with_boundaries:
        return prompt

    def without_header(beginning: Sequence[Mapping[str, object]]) -> tuple[int, ...] | None:
        try:
            return _rendered(model, beginning, context, header=False).tokens
        except PromptRefused:
            return None

    return RenderedPrompt(prompt.tokens, shared_beginnings(prompt.tokens, messages, without_header))


def _rendered(
    model: LoadedModel, messages: Sequence[Mapping[str, object]], context: Mapping[str, object], *, header: bool
) -> RenderedPrompt:
    tokenizer = cast(ChatTokenizer, model.tokenizer)
    if not tokenizer.has_chat_template:
        raise PromptRefused("jinja_template")
    context = {**context, "add_generation_prompt": header, "tokenize": False}
    try:
        text = tokenizer.apply_chat_template([dict(message) for message in messages], **context)
    except Exception as error:  # templates are programs of the model's authors and may raise anything
        raise PromptRefused(_reason(error, messages)) from None
    if not isinstance(text, str):
        raise PromptRefused("jinja_template")
    return encode_text(model, text, template=True)


def encode_text(model: LoadedModel, text: str, *, template: bool = False) -> RenderedPrompt:
    """Tokenise raw text; a rendered template brings its own special tokens, a plain prompt gets the tokenizer's."""
    tokenizer = cast(ChatTokenizer, model.tokenizer)
    return RenderedPrompt(tuple(tokenizer.encode(text, add_special_tokens=not template)))


def _reason(error: Exception, messages: Sequence[Mapping[str, object]]) -> TemplateReason:
    """Classify what a template raised, from one fixed text and from nulls in the input; its text goes nowhere."""
    text = str(error)
    if "channel" in text and "<|" in text:
        return "jinja_channel_tags"
    if any(value is None for message in messages for value in message.values()):
        return "jinja_null_bridge"
    return "jinja_template"
