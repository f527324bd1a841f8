"""Tools, tool choice and text format of the Responses API, lowered to those of chat completions."""

from __future__ import annotations

from typing import Final

from protocol.api.errors import invalid_request
from protocol.api.tools.declared import MAX_TOOLS

_NOT_A_CHOICE: Final = (
    'tool_choice must be "auto", "none", "required", {"type": "function", "name": …} or {"type": "allowed_tools", …}.'
)


def lower_tools(value: object) -> list[dict[str, object]]:
    """Function tools in the nested form of chat completions, `strict` kept; raises ApiError 400 for all other tools."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise invalid_request("tools must be an array.", param="tools")
    if len(value) > MAX_TOOLS:
        raise invalid_request(f"tools takes at most {MAX_TOOLS} entries.", param="tools")
    return [_lower_tool(tool, f"tools[{index}]") for index, tool in enumerate(value)]


def lower_choice(value: object, tools: list[dict[str, object]]) -> tuple[object, list[dict[str, object]]]:
    """(tool choice, tools) of chat completions; the choice is None when nothing was chosen.

    `allowed_tools` leaves only the tools that it names. Raises ApiError 400.
    """
    if value is None or isinstance(value, str):
        return value, tools
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(kind, str):
        raise invalid_request(_NOT_A_CHOICE, param="tool_choice")
    if kind == "function":
        return {"type": "function", "function": {"name": _chosen_name(value)}}, tools
    if kind == "allowed_tools":
        return _lower_allowed(value, tools)
    if kind in ("auto", "none", "required"):
        return kind, tools
    raise invalid_request(_NOT_A_CHOICE, param="tool_choice")


def lower_text(value: object) -> dict[str, object] | None:
    """The `response_format` for `text`; None for plain text. Raises ApiError 400."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise invalid_request("text must be an object.", param="text")
    wanted = value.get("format")
    if wanted is None:
        return None
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if not isinstance(wanted, dict) or kind not in ("text", "json_object", "json_schema"):
        raise invalid_request("text.format.type must be text, json_object or json_schema.", param="text.format.type")
    if kind != "json_schema":
        return None if kind == "text" else {"type": "json_object"}
    name, schema = wanted.get("name"), wanted.get("schema")
    if not isinstance(name, str) or not name:
        raise invalid_request("text.format.name must be a non-empty string.", param="text.format.name")
    if not isinstance(schema, dict):
        raise invalid_request("text.format.schema must be an object.", param="text.format.schema")
    kept = {member: wanted[member] for member in ("description", "strict") if wanted.get(member) is not None}
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, **kept}}


def _lower_tool(tool: object, place: str) -> dict[str, object]:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        raise invalid_request("Every tool must be of type function; hosted tools do not exist here.", param=place)
    # The nested form of chat completions is understood too.
    function = tool["function"] if isinstance(tool.get("function"), dict) else tool
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise invalid_request("A function tool needs a name.", param=f"{place}.name")
    members = ("description", "parameters", "strict")
    kept = {member: function[member] for member in members if function.get(member) is not None}
    return {"type": "function", "function": {"name": name, **kept}}


def _lower_allowed(value: dict[str, object], tools: list[dict[str, object]]) -> tuple[object, list[dict[str, object]]]:
    mode, listed = value.get("mode", "auto"), value.get("tools")
    if mode not in ("auto", "required"):
        raise invalid_request("The mode of allowed_tools must be auto or required.", param="tool_choice.mode")
    if not isinstance(listed, list) or not listed:
        raise invalid_request("allowed_tools needs a non-empty array of tools.", param="tool_choice.tools")
    names = {_chosen_name(entry) for entry in listed}
    declared = {_declared_name(tool): tool for tool in tools}
    if not names <= declared.keys():
        raise invalid_request("allowed_tools names a function that tools does not declare.", param="tool_choice.tools")
    return mode, [tool for name, tool in declared.items() if name in names]


def _chosen_name(choice: object) -> str:
    name: object = None
    if isinstance(choice, dict):
        nested = choice.get("function")
        name = nested.get("name") if isinstance(nested, dict) else choice.get("name")
    if not isinstance(name, str) or not name:
        raise invalid_request("A chosen tool is named as {type: function, name}.", param="tool_choice")
    return name


def _declared_name(tool: dict[str, object]) -> object:
    function = tool["function"]
    return function["name"] if isinstance(function, dict) else None
