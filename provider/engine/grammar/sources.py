"""Grammars as text: what a compiler takes, from schemas and tools; pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

MAX_SCHEMA_BYTES: Final = 64 * 1024
MAX_SCHEMA_DEPTH: Final = 32

WHITESPACE_PATTERN: Final = r"( |\n {0,32})?"
"""Blanks between the parts of a JSON text: one, or a new line and its indentation; no model gets lost in them."""

OPTIONS_KEY: Final = "x-guidance"
"""Where the compiler looks for options inside a schema; a customer's schema has no say in them."""

Kind = Literal["schema", "lark"]


@dataclass(frozen=True, slots=True)
class GrammarSource:
    """One grammar; equal sources compile to equal constraints. It holds a customer's schema: never log it."""

    kind: Kind
    text: str = field(repr=False)
    is_strict: bool = True
    """Whether keywords that cannot be enforced are refused; else they are ignored."""


class SourceRefused(ValueError):
    """The schema is too large or too deep; the text names the bound."""


def schema_source(schema: object, *, is_strict: bool = True) -> GrammarSource:
    """Take a JSON schema (an object or a truth value). Raises `SourceRefused`."""
    if isinstance(schema, dict):
        schema = {name: member for name, member in schema.items() if name != OPTIONS_KEY}
    text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > MAX_SCHEMA_BYTES:
        raise SourceRefused(f"The schema is longer than {MAX_SCHEMA_BYTES} bytes; make it smaller.")
    if _depth(schema) > MAX_SCHEMA_DEPTH:
        raise SourceRefused(f"The schema is nested more than {MAX_SCHEMA_DEPTH} levels deep; flatten it.")
    return GrammarSource("schema", text, is_strict)


def tools_source(
    tools: Sequence[Mapping[str, object]],
    frame: tuple[str, str],
    *,
    special: Mapping[str, int] = MappingProxyType({}),
    only: str | None = None,
    parallel: bool = True,
) -> GrammarSource:
    """One or more calls of given tools as JSON between the marks of `frame`; `only` permits one tool.

    `special` gives the ids of marks that are special tokens, which no text can spell. Raises `SourceRefused`.
    """
    functions = [function for tool in tools if isinstance(function := tool.get("function"), dict)]
    wanted = [function for function in functions if only is None or function.get("name") == only]
    choices = [
        {
            "type": "object",
            "properties": {"name": {"const": function["name"]}, "arguments": _parameters(function)},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for function in wanted
    ]
    call = schema_source(choices[0] if len(choices) == 1 else {"anyOf": choices}, is_strict=False)
    options = {OPTIONS_KEY: {"lenient": True, "whitespace_pattern": WHITESPACE_PATTERN}}
    schema = json.dumps(json.loads(call.text) | options, ensure_ascii=False)
    begins, ends = (f"<[{special[mark]}]>" if mark in special else json.dumps(mark) for mark in frame)
    line = '"\\n"?'
    rule = f"call: {begins} {line} json {line} {ends}\njson: %json {schema}\n"
    start = f"start: call ({line} call)*\n" if parallel else "start: call\n"
    return GrammarSource("lark", start + rule, is_strict=False)


def _parameters(function: Mapping[str, object]) -> object:
    schema = function.get("parameters")
    return schema if isinstance(schema, dict) and schema else {"type": "object"}


def _depth(value: object) -> int:
    """Levels of nesting, without recursion."""
    deepest, pending = 0, [(value, 1)]
    while pending:
        item, level = pending.pop()
        deepest = max(deepest, level)
        if deepest > MAX_SCHEMA_DEPTH:
            break
        if isinstance(item, dict):
            pending.extend((member, level + 1) for member in item.values())
        elif isinstance(item, list):
            pending.extend((member, level + 1) for member in item)
    return deepest


JSON_OBJECT: Final = schema_source({"type": "object"})
