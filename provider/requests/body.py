"""A decrypted body as a checked order for the engine; pure. Nothing of the body stands in any error.

Source: provider rules, normalisation of inbound bodies, and sampling.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from provider.engine import SamplingParameters
from provider.engine.grammar import GrammarSource
from provider.engine.request import DEFAULT_MAX_TOKENS
from provider.requests.demands import forced_tool, logprobs, parser_name, structure, template_arguments
from provider.requests.messages import normalise_messages
from provider.requests.refusal import INVALID, RequestRefused
from provider.requests.tool_schema import normalise_tools

CHAT: Final = "/v1/chat/completions"
TEXT: Final = "/v1/completions"
MAX_STOPS: Final = 16
MAX_STOP_CHARACTERS: Final = 4096

Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
Bound = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class _Body(msgspec.Struct, kw_only=True):
    """The members that we read, with their ranges; `null` means absent everywhere."""

    model: str
    endpoint: str | None = None
    messages: list[dict[str, Any]] | None = None
    prompt: str | list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    max_tokens: Bound | None = None
    max_completion_tokens: Bound | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=-1, le=2**62)] | None = None
    min_p: Fraction | None = None
    repetition_penalty: Annotated[float, msgspec.Meta(gt=0, le=100)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, msgspec.Meta(ge=-100, le=100)]] | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: str | list[str] | None = None
    n: Literal[1] | None = None
    best_of: Literal[1] | None = None
    logprobs: bool | int | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    reasoning: dict[str, Any] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    tool_call_parser: str | None = None
    response_format: dict[str, Any] | None = None


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to generate: chat `messages` or a raw `prompt`, never both.

    `biases` are (token id, bias) before they are held against a vocabulary; `biases_dropped` counts unusable keys.
    `forced_tool` is a name, `ANY_TOOL`, or None where no call is demanded. `logprobs` is how many alternatives to
    report beside each token, None for no report.
    """

    model: str
    messages: tuple[Mapping[str, object], ...] = ()
    prompt: str | None = None
    tools: tuple[Mapping[str, object], ...] = ()
    template_arguments: Mapping[str, object] = msgspec.field(default_factory=dict)
    max_tokens: int = DEFAULT_MAX_TOKENS
    sampling: SamplingParameters = msgspec.field(default_factory=SamplingParameters)
    stop: tuple[str, ...] = ()
    biases_dropped: int = 0
    forced_tool: str | None = None
    one_call: bool = False
    tool_parser: str | None = None
    structure: GrammarSource | None = None
    logprobs: int | None = None

    def __repr__(self) -> str:
        return "<Order>"


_DECODER: Final = msgspec.json.Decoder(_Body)


def parse_order(plaintext: bytes | bytearray | memoryview) -> Order:
    """Decode, normalise and check a body; raises `RequestRefused`, without a trace of what was in it."""
    try:
        body = _DECODER.decode(plaintext)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise RequestRefused(INVALID) from None
    if not body.model:
        raise RequestRefused(INVALID)
    biases, dropped = _biases(body.logit_bias or {})
    bounds = (body.max_tokens, body.max_completion_tokens)
    order = Order(
        model=body.model,
        template_arguments=template_arguments(body.chat_template_kwargs, body.reasoning_effort, body.reasoning),
        max_tokens=next((bound for bound in bounds if bound is not None), DEFAULT_MAX_TOKENS),
        sampling=SamplingParameters(
            temperature=_or(body.temperature, 0.0),
            top_p=_or(body.top_p, 1.0),
            top_k=max(0, body.top_k or 0),
            min_p=_or(body.min_p, 0.0),
            repetition_penalty=_or(body.repetition_penalty, 1.0),
            frequency_penalty=_or(body.frequency_penalty, 0.0),
            presence_penalty=_or(body.presence_penalty, 0.0),
            logit_bias=biases,
            seed=body.seed,
        ),
        stop=_stops(body.stop),
        biases_dropped=dropped,
        structure=structure(body.response_format),
        tool_parser=parser_name(body.tool_call_parser),
    )
    return _with_input(order, body)


def _with_input(order: Order, body: _Body) -> Order:
    match body.endpoint or CHAT:
        case "/v1/chat/completions":
            return _with_chat(order, body)
        case "/v1/completions":
            prompt = body.prompt if isinstance(body.prompt, str) else _only(body.prompt or [])
            wanted = logprobs(body.logprobs, body.top_logprobs, is_chat=False)
            return msgspec.structs.replace(order, prompt=prompt, logprobs=wanted)
    raise RequestRefused(INVALID)


def _with_chat(order: Order, body: _Body) -> Order:
    tools = normalise_tools(body.tools or [])
    offered, forced = forced_tool(body.tool_choice, [tool["function"]["name"] for tool in tools])
    if forced is not None and order.structure is not None:
        raise RequestRefused(INVALID)
    return msgspec.structs.replace(
        order,
        messages=normalise_messages(body.messages or []),
        tools=tools if offered else (),
        forced_tool=forced,
        one_call=body.parallel_tool_calls is False,
        logprobs=logprobs(body.logprobs, body.top_logprobs, is_chat=True),
    )


def _only(prompts: list[str]) -> str:
    """Several prompts would be several answers."""
    if len(prompts) != 1:
        raise RequestRefused(INVALID)
    return prompts[0]


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    stops = [stop] if isinstance(stop, str) else stop or []
    if len(stops) > MAX_STOPS or any(len(entry) > MAX_STOP_CHARACTERS for entry in stops):
        raise RequestRefused(INVALID)
    return tuple(entry for entry in stops if entry)


def _biases(written: Mapping[str, float]) -> tuple[tuple[tuple[int, float], ...], int]:
    """(usable pairs, number of keys that are no token id)."""
    usable = tuple(
        (int(key), bias) for key, bias in written.items() if key.isascii() and key.isdigit() and len(key) < 12
    )
    return usable, len(written) - len(usable)


def _or(value: float | None, default: float) -> float:
    return default if value is None else float(value)


def within_vocabulary(order: Order, size: int) -> tuple[SamplingParameters, int]:
    """Drop biases of tokens that the model does not have; gives the parameters and how many were dropped in all."""
    kept = tuple(pair for pair in order.sampling.logit_bias if pair[0] < size)
    dropped = order.biases_dropped + len(order.sampling.logit_bias) - len(kept)
    return msgspec.structs.replace(order.sampling, logit_bias=kept), dropped
