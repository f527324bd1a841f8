"""The `tools` of a chat request: checked as declarations, then rewritten schema by schema.

Invariant: a tool that needs no rewriting keeps the very bytes that were sent.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from protocol.api.errors import invalid_request
from protocol.api.exact_json import decode_exact
from protocol.api.tools.enforcement import Enforceable, too_complex
from protocol.api.tools.references import Unfolding, inline_references
from protocol.api.tools.schema import MARKER, Members, is_marked, read_members
from protocol.api.tools.typed import complete_types, is_complete

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protocol.api.tools.choice import ToolChoice

MAX_TOOLS: Final = 64
MAX_REWRITTEN_BYTES: Final = 512 * 1024
"""Larger declarations are forwarded as they are: rewriting them would hold everybody else up."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HOMES: Final = ("parameters", "input_schema")


class CheckedTools(NamedTuple):
    """The declarations to forward, and the functions among them."""

    raw: msgspec.Raw
    functions: tuple[str, ...]


def check_tools(raw: msgspec.Raw, listed: object, choice: ToolChoice) -> CheckedTools:
    """Check a member `tools` (as sent, and decoded) against the choice, and complete its schemas.

    Raises ApiError: 400 with the place for what is no tool, for names that are wrong, doubled or not declared; 422 for
    a schema that cannot be enforced although a call is forced.
    """
    if listed is None:
        listed = []
    if not isinstance(listed, list):
        raise invalid_request("tools must be an array.", param="tools")
    if len(listed) > MAX_TOOLS:
        raise invalid_request(f"tools takes at most {MAX_TOOLS} entries.", param="tools")
    functions = _functions(listed, choice)
    if choice.forced and not functions:
        raise invalid_request("tool_choice forces a tool, but tools declares none.", param="tool_choice")
    if choice.mode == "named" and choice.name not in functions:
        raise invalid_request("tool_choice names a function that tools does not declare.", param="tool_choice")
    if not functions:
        return CheckedTools(raw, functions)
    if len(memoryview(raw)) > MAX_REWRITTEN_BYTES:
        if choice.forced:
            raise too_complex(f"they are larger than {MAX_REWRITTEN_BYTES} bytes")
        return CheckedTools(raw, functions)
    if MARKER.encode() in bytes(raw) and any(is_marked(tool) for tool in listed):
        raise invalid_request(f"{MARKER} is a reserved word of tool schemas; leave it out.", param="tools")
    if not choice.forced and b'"$ref"' not in bytes(raw) and all(_is_complete(tool) for tool in listed):
        return CheckedTools(raw, functions)
    return CheckedTools(_rewritten(raw, choice), functions)


def _functions(listed: Sequence[object], choice: ToolChoice) -> tuple[str, ...]:
    names: list[str] = []
    for index, tool in enumerate(listed):
        if not isinstance(tool, dict):
            raise invalid_request("Every tool must be an object.", param=f"tools[{index}]")
        function = tool.get("function", tool if "name" in tool else None)
        if tool.get("type", "function") != "function":
            if choice.forced:
                raise invalid_request(
                    "With a forced tool choice, every tool must be a function.", param=f"tools[{index}]"
                )
            continue  # a hosted tool of another service: nobody here runs it
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise invalid_request(
                "A function's name must be 1 to 64 letters, digits, underscores or dashes.",
                param=f"tools[{index}].function.name",
            )
        if name in names:
            raise invalid_request("Two tools have the same name; names must be unique.", param="tools")
        names.append(name)
    return tuple(names)


def _is_complete(tool: dict[str, object]) -> bool:
    function = tool.get("function", tool)
    return not isinstance(function, dict) or all(is_complete(function.get(home)) for home in _HOMES)


def _rewritten(raw: msgspec.Raw, choice: ToolChoice) -> msgspec.Raw:
    tools = msgspec.json.decode(raw, type=list[msgspec.Raw])
    budget = Enforceable() if choice.forced else None
    unfolding = Unfolding()
    changed = False
    for index, tool in enumerate(tools):
        members = read_members(tool)
        nested = read_members(members["function"]) if "function" in members else None
        function = members if nested is None else nested
        name = decode_exact(function["name"]) if "name" in function else None
        fixed = dict(function)
        for home in _HOMES:
            schema = function.get(home)
            if schema is None or read_members(schema, or_none=True) is None:
                continue
            inlined = inline_references(schema, unfolding)
            if budget is not None and (choice.mode == "required" or name == choice.name):
                budget.check(inlined)
            fixed[home] = complete_types(inlined)
        if fixed == function:
            continue
        changed = True
        tools[index] = _joined(members, fixed, nested=nested is not None)
    return msgspec.Raw(msgspec.json.encode(tools)) if changed else raw


def _joined(members: Members, function: Members, *, nested: bool) -> msgspec.Raw:
    written = function if not nested else members | {"function": msgspec.Raw(msgspec.json.encode(function))}
    return msgspec.Raw(msgspec.json.encode(written))
