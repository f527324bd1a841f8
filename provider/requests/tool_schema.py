"""Tool schemas as chat templates can print them: every node typed, nothing null; pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from provider.requests.refusal import INVALID, RequestRefused

MAX_DEPTH: Final = 32
_MAPS_OF_SCHEMAS: Final = frozenset({"properties", "patternProperties", "$defs", "definitions"})
_LISTS_OF_SCHEMAS: Final = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_SCHEMAS: Final = frozenset({"items", "additionalProperties", "not", "contains", "if", "then", "else"})
_UNTYPED_BY: Final = _LISTS_OF_SCHEMAS | {"$ref", "enum", "const"}


def normalise_tools(tools: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Drop tools that are no functions and complete the schemas of the rest; raises `RequestRefused`."""
    fixed: list[dict[str, Any]] = []
    for tool in tools:
        if tool.get("type") != "function":
            continue
        function = tool.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise RequestRefused(INVALID)
        described = {name: value for name, value in function.items() if value is not None}
        if isinstance(described.get("parameters"), dict):
            described["parameters"] = normalise_schema(described["parameters"])
        fixed.append({"type": "function", "function": described})
    return tuple(fixed)


def normalise_schema(schema: Mapping[str, Any], depth: int = 0) -> dict[str, object]:
    """Infer missing types, write `[T, "null"]` as nullable T, and leave out nulls of `enum` and `default`."""
    if depth > MAX_DEPTH:
        raise RequestRefused(INVALID)
    fixed: dict[str, object] = {}
    for name, value in schema.items():
        if name == "enum" and isinstance(value, list):
            fixed[name] = [member for member in value if member is not None]
        elif name in _MAPS_OF_SCHEMAS and isinstance(value, dict):
            fixed[name] = {key: _nested(member, depth) for key, member in value.items()}
        elif name in _LISTS_OF_SCHEMAS and isinstance(value, list):
            fixed[name] = [_nested(member, depth) for member in value]
        elif name in _SCHEMAS:
            fixed[name] = _nested(value, depth)
        elif value is not None:
            fixed[name] = value
    _complete_type(fixed)
    return fixed


def _nested(value: object, depth: int) -> object:
    return normalise_schema(value, depth + 1) if isinstance(value, dict) else value


def _complete_type(schema: dict[str, object]) -> None:
    kind = schema.get("type")
    if isinstance(kind, list):
        kinds = [member for member in kind if member != "null"]
        if len(kinds) < len(kind):
            schema["nullable"] = True
        schema["type"] = kinds[0] if len(kinds) == 1 else kinds or "null"
    elif kind is None and not _UNTYPED_BY & schema.keys():
        schema["type"] = "object" if "properties" in schema else "array" if "items" in schema else "string"
