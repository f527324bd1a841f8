"""Tools and the tool choice, lowered to chat's functions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from protocol.api.anthropic.blocks import bad
from protocol.api.tools.declared import MAX_TOOLS

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def lower_tools(value: object) -> list[dict[str, object]]:
    """The functions of a `tools` array; raises ApiError 400, also for tools that Anthropic's servers would run."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise bad("tools", "must be an array")
    if len(value) > MAX_TOOLS:
        raise bad("tools", f"takes at most {MAX_TOOLS} entries")
    names: set[str] = set()
    lowered: list[dict[str, object]] = []
    for index, tool in enumerate(value):
        at = f"tools[{index}]"
        if not isinstance(tool, dict):
            raise bad(at, "must be an object")
        if tool.get("type") not in (None, "custom"):
            raise bad(f"{at}.type", 'must be "custom" or absent: this service runs no tools itself')
        name = tool.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise bad(f"{at}.name", "must be 1 to 64 letters, digits, underscores or dashes")
        if name in names:
            raise bad(f"{at}.name", "must be unique among the tools")
        names.add(name)
        lowered.append({"type": "function", "function": _function(tool, name, at)})
    return lowered


def lower_tool_choice(value: object, tools: Sequence[dict[str, object]]) -> dict[str, object]:
    """`tool_choice` and `parallel_tool_calls` of the chat request; raises ApiError 400."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad("tool_choice", "must be an object with a type")
    lowered: dict[str, object] = {}
    match value.get("type"):
        case "auto":
            lowered["tool_choice"] = "auto"
        case "none":
            lowered["tool_choice"] = "none"
        case "any":
            if not tools:
                raise bad("tool_choice", "forces a tool, but tools is empty")
            lowered["tool_choice"] = "required"
        case "tool":
            name = value.get("name")
            if not isinstance(name, str) or not any(_name_of(tool) == name for tool in tools):
                raise bad("tool_choice.name", "must be the name of one of the tools")
            lowered["tool_choice"] = {"type": "function", "function": {"name": name}}
        case _:
            raise bad("tool_choice.type", 'must be "auto", "any", "tool" or "none"')
    alone = value.get("disable_parallel_tool_use")
    if not isinstance(alone, bool | None):
        raise bad("tool_choice.disable_parallel_tool_use", "must be true or false")
    if alone:
        lowered["parallel_tool_calls"] = False
    return lowered


def _function(tool: dict[str, object], name: str, at: str) -> dict[str, object]:
    description = tool.get("description")
    if not isinstance(description, str | None):
        raise bad(f"{at}.description", "must be a string")
    schema = tool.get("input_schema")
    if not isinstance(schema, dict | None):
        raise bad(f"{at}.input_schema", "must be a JSON schema, as an object")
    strict = tool.get("strict")
    if not isinstance(strict, bool | None):
        raise bad(f"{at}.strict", "must be true or false")
    function: dict[str, object] = {
        "name": name,
        "description": description or "",
        "parameters": schema if schema is not None else {"type": "object"},
    }
    if strict is not None:
        function["strict"] = strict
    return function


def _name_of(tool: dict[str, object]) -> object:
    function = tool["function"]
    return function.get("name") if isinstance(function, dict) else None
