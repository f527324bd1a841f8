"""The payload of a tool call, read by the parser of its family."""

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final, cast

from provider.engine.dialect.parts import Call

MAX_PAYLOAD_CHARACTERS: Final = 256 * 1024
"""Longest payload that is parsed; a longer one is a spoiled call."""

MAX_CALLS: Final = 128
"""Calls of one payload."""

INVENTED: Final = "unknown"
"""What a lenient parser calls a function that it did not find."""

Tools = Sequence[Mapping[str, object]]
_Parse = Callable[..., Any]

_ALTERNATIVES: Final = {
    "qwen3_5": ("qwen3_coder", "json_tools"),
    "qwen3_coder": ("qwen3_coder", "json_tools"),
    "json_tools": ("json_tools", "qwen3_coder"),
    "nemotron": ("json_tools",),
}
"""Parsers that are tried in turn; the others have no alternative."""


class CallsRefused(Exception):
    """The payload is no call; the text is fixed."""


def parse_calls(parser: str, payload: str, tools: Tools) -> list[Call]:
    """Read one payload; a family's own parser first. Raises `CallsRefused`."""
    if len(payload) <= MAX_PAYLOAD_CHARACTERS:
        for name in _ALTERNATIVES.get(parser, (parser,)):
            calls = _attempt(name, payload, tools)
            if calls and not any(call.name == INVENTED and INVENTED not in tool_names(tools) for call in calls):
                return calls
    raise CallsRefused("The model's tool call cannot be read.")


def read_json_call(value: object) -> Call | None:
    """Read a decoded call: `name` with `arguments` or `parameters`, possibly below `function`."""
    if not isinstance(value, dict):
        return None
    inner = value.get("function")
    call = inner if isinstance(inner, dict) else value
    name = call.get("name")
    arguments = call.get("arguments", call.get("parameters", {}))
    if not isinstance(name, str) or not name or not _is_utf8(name):
        return None
    if isinstance(arguments, str):
        arguments = json.loads(arguments) if arguments.strip() else {}
    if not isinstance(arguments, dict):
        return None
    written = value.get("id")
    return Call(name, _write(arguments), written if isinstance(written, str) else "")


def tool_names(tools: Tools) -> frozenset[str]:
    """Names of the functions that are offered."""
    functions = [function for tool in tools if isinstance(function := tool.get("function"), dict)]
    return frozenset(name for function in functions if isinstance(name := function.get("name"), str))


def _attempt(name: str, payload: str, tools: Tools) -> list[Call]:
    try:
        return _read(_parser(name)(payload, list(tools)))
    except Exception:  # parsers of many authors over text of a model: whatever they raise, it is no call
        return []


def _read(parsed: object) -> list[Call]:
    values = parsed if isinstance(parsed, list) else [parsed]
    calls = [read_json_call(value) for value in values]
    if len(calls) > MAX_CALLS or any(call is None for call in calls):
        return []
    return cast("list[Call]", calls)


def _write(arguments: Mapping[str, object]) -> str:
    text = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # Half of a surrogate pair is a JSON string like any other, but only an escape can write it.
    return text if _is_utf8(text) else json.dumps(arguments, separators=(",", ":"), allow_nan=False)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@cache
def _parser(name: str) -> _Parse:
    """The library's parser; imported when a call of its family is first read."""
    if name == "json_tools":
        return _parse_json
    module = importlib.import_module(f"mlx_lm.tool_parsers.{name}")
    return cast(_Parse, module.parse_tool_call)


def _parse_json(payload: str, _: object) -> object:
    return json.loads(payload)
