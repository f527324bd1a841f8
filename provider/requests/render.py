"""From an order to the engine's request: template, tokens, sampling, reading rules; blocks, so it runs on a thread."""

from dataclasses import dataclass
from typing import Final, Protocol, cast

from provider.engine import GenerationRequest, LoadedModel
from provider.engine.detokenise import make_detokeniser
from provider.engine.dialect import JSON_PARSER, Dialect, starts_in_thought
from provider.engine.grammar import AT_ONCE, Begin, GrammarSource, SourceRefused, is_available, tools_source
from provider.models.prompt import PromptRefused, encode_text, render_chat
from provider.requests.body import Order, within_vocabulary
from provider.requests.demands import ANY_TOOL
from provider.requests.plan import AnswerPlan
from provider.requests.refusal import RequestRefused, of_template

TAIL_TOKENS: Final = 16
"""Tokens at the end of a prompt that tell whether it has begun the answer's reasoning."""

HARMONY_FINAL: Final = "<|channel|>final<|message|>"


class Encoder(Protocol):
    """The part of a tokenizer that marks are encoded with."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Tokenise text."""


def enforces_tools(model: LoadedModel) -> bool:
    """Whether a forced tool call of this model is constrained while it is generated, and not only held against it."""
    return model.dialect.parser == JSON_PARSER and model.grammars is not None and is_available()


@dataclass(frozen=True, slots=True)
class Constraint:
    """A grammar to compile, and whether the answer may go without it when it cannot be compiled."""

    source: GrammarSource
    begin: Begin
    is_optional: bool


@dataclass(frozen=True, slots=True)
class Rendered:
    """A request for the engine, how to read its answer, and how many biases of the body it could not take."""

    request: GenerationRequest
    plan: AnswerPlan
    constraint: Constraint | None
    biases_dropped: int


def render_order(model: LoadedModel, order: Order, deadline: float | None, *, cache_scope: str = "") -> Rendered:
    """Render and tokenise; `deadline` is a ``time.monotonic`` instant. Raises `RequestRefused`."""
    try:
        if order.prompt is not None:
            prompt = encode_text(model, order.prompt)
        else:
            prompt = render_chat(
                model,
                order.messages,
                tools=order.tools,
                template_arguments=order.template_arguments,
                with_boundaries=bool(cache_scope) and not model.rewindable,
            )
    except PromptRefused as refused:
        refusal = of_template(refused.reason)
    else:
        sampling, dropped = within_vocabulary(order, model.logits_size)
        plan = _plan(model, order, prompt.tokens)
        request = GenerationRequest(
            model=order.model,
            prompt_tokens=prompt.tokens,
            max_tokens=order.max_tokens,
            sampling=sampling,
            stop=order.stop,
            deadline=deadline,
            marks=plan.dialect is not None and bool(plan.dialect.mark_ids),
            logprobs=order.logprobs,
            cache_scope=cache_scope,
            boundaries=prompt.boundaries,
        )
        return Rendered(request, plan, _constraint(model, order, plan), dropped)
    raise RequestRefused(refusal)


def _plan(model: LoadedModel, order: Order, prompt: tuple[int, ...]) -> AnswerPlan:
    if order.prompt is not None:
        return AnswerPlan(vocabulary=model.vocabulary)
    dialect = model.dialect
    if order.tool_parser is not None:
        dialect = dialect.with_parser(order.tool_parser)
    return AnswerPlan(
        vocabulary=model.vocabulary,
        dialect=dialect,
        tools=order.tools,
        prompt_tail=_tail(model, prompt),
        must_call=order.forced_tool is not None,
        only_tool=order.forced_tool or None,
        one_call=order.one_call,
    )


def _tail(model: LoadedModel, prompt: tuple[int, ...]) -> str:
    """The end of the prompt as text, its marks included."""
    detokeniser = make_detokeniser(model.words(marks=True))
    return "".join([*(detokeniser.add(token) for token in prompt[-TAIL_TOKENS:]), detokeniser.flush()])


def _constraint(model: LoadedModel, order: Order, plan: AnswerPlan) -> Constraint | None:
    """The grammar that the order demands; a forced tool is held against the answer at its end as well."""
    if plan.dialect is None:
        return None if order.structure is None else Constraint(order.structure, AT_ONCE, is_optional=False)
    if order.structure is not None:
        return Constraint(order.structure, _begin(model, plan.dialect, plan.prompt_tail), is_optional=False)
    frame = plan.dialect.frame
    if order.forced_tool is None or frame is None or plan.dialect.parser != JSON_PARSER:
        return None
    only = None if order.forced_tool == ANY_TOOL else order.forced_tool
    try:
        source = tools_source(
            order.tools, frame, special=_special(model, frame), only=only, parallel=not order.one_call
        )
    except SourceRefused:
        return None
    return Constraint(source, _begin(model, plan.dialect, plan.prompt_tail), is_optional=True)


def _special(model: LoadedModel, frame: tuple[str, str]) -> dict[str, int]:
    """Ids of those marks that are special tokens."""
    tokenizer = cast(Encoder, model.tokenizer)
    encoded = {mark: tokenizer.encode(mark, add_special_tokens=False) for mark in frame}
    return {mark: ids[0] for mark, ids in encoded.items() if len(ids) == 1 and ids[0] in model.vocabulary.hidden}


def _begin(model: LoadedModel, dialect: Dialect, tail: str) -> Begin:
    """Where the constrained text begins: after the reasoning, if there is any."""
    tokenizer = cast(Encoder, model.tokenizer)

    def encode(mark: str) -> tuple[int, ...]:
        return tuple(tokenizer.encode(mark, add_special_tokens=False))

    if dialect.is_harmony:
        return AT_ONCE if tail.endswith(HARMONY_FINAL) else Begin(closes=encode(HARMONY_FINAL))
    thinking = starts_in_thought(dialect, tail)
    if dialect.think is None or thinking is False:
        return AT_ONCE
    opens, closes = (encode(mark) for mark in dialect.think)
    return Begin(opens=opens, closes=closes, is_open=bool(thinking))
