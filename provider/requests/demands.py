"""What a body demands of the answer's form: tools, structure, log-probabilities, reasoning; pure.

Source: provider rules, tool calls, structured output, log-probabilities and reasoning.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from provider.engine.dialect import PARSERS
from provider.engine.grammar import JSON_OBJECT, GrammarSource, SourceRefused, schema_source
from provider.requests.refusal import INVALID, RequestRefused

MAX_TOP_LOGPROBS: Final = 20

ANY_TOOL: Final = ""
"""A call of whatever tool is forced."""


def forced_tool(choice: object, names: Sequence[str]) -> tuple[bool, str | None]:
    """(whether tools are offered, name of the forced tool, `ANY_TOOL` or None). Raises `RequestRefused`."""
    kind, name = _choice(choice)
    if kind in ("auto", "none"):
        return kind == "auto", None
    if not names or (kind == "function" and name not in names):
        raise RequestRefused(INVALID)
    return True, name if kind == "function" else ANY_TOOL


def _choice(choice: object) -> tuple[str, str]:
    if choice is None:
        return "auto", ""
    if isinstance(choice, str) and choice in ("auto", "none", "required"):
        return choice, ""
    if isinstance(choice, dict):
        kind = choice.get("type")
        inner = choice.get("function")
        name = inner.get("name") if isinstance(inner, dict) else choice.get("name")
        if kind in ("auto", "none", "required"):
            return str(kind), ""
        if kind == "function" and isinstance(name, str) and name:
            return "function", name
    raise RequestRefused(INVALID)


def structure(response_format: Mapping[str, Any] | None) -> GrammarSource | None:
    """The grammar of a response format; None for plain text. Raises `RequestRefused`."""
    kind = None if response_format is None else response_format.get("type")
    if response_format is None or kind == "text":
        return None
    if kind == "json_object":
        return JSON_OBJECT
    described = response_format.get("json_schema")
    schema = described.get("schema") if isinstance(described, dict) else None
    if kind != "json_schema" or not isinstance(described, dict) or not isinstance(schema, dict | bool):
        raise RequestRefused(INVALID)
    try:
        return schema_source(schema, is_strict=described.get("strict") is True)
    except SourceRefused:
        raise RequestRefused(INVALID) from None


def logprobs(wanted: bool | int | None, top: int | None, *, is_chat: bool) -> int | None:
    """Alternatives to report beside each token; None for no report. Raises `RequestRefused`."""
    if not is_chat:
        if wanted:
            raise RequestRefused(INVALID)
        return None
    if wanted is not None and not isinstance(wanted, bool):
        raise RequestRefused(INVALID)
    if not wanted:
        if top:
            raise RequestRefused(INVALID)
        return None
    return top or 0


def template_arguments(
    given: Mapping[str, Any] | None, effort: str | None, reasoning: Mapping[str, Any] | None
) -> dict[str, object]:
    """What goes into the template's context: `chat_template_kwargs` first, then effort and switch of the reasoning."""
    context: dict[str, object] = dict(given or {})
    wanted = reasoning or {}
    chosen = effort if effort is not None else wanted.get("effort")
    if isinstance(chosen, str) and chosen:
        context.setdefault("reasoning_effort", chosen)
    enabled = wanted.get("enabled")
    if isinstance(enabled, bool):
        context.setdefault("enable_thinking", enabled)
    elif chosen == "none":
        context.setdefault("enable_thinking", False)
    return context


def parser_name(name: str | None) -> str | None:
    """A tool parser that the body names. Raises `RequestRefused` for one that is not known."""
    if name is not None and name not in PARSERS:
        raise RequestRefused(INVALID)
    return name
