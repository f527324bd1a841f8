"""`response_format`: the form that an answer is to have."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

from protocol.api.errors import invalid_request

FormatKind: TypeAlias = Literal["text", "json_object", "json_schema"]

_KINDS: Final[tuple[FormatKind, ...]] = get_args(FormatKind)
_PARAM: Final = "response_format"


def read_format(value: object) -> FormatKind:
    """The kind that is asked for; absent and null mean text. Raises ApiError 400; a schema itself is not judged."""
    if value is None:
        return "text"
    if not isinstance(value, dict):
        raise invalid_request("response_format must be an object with a type.", param=_PARAM)
    kind: FormatKind | None = next((known for known in _KINDS if known == value.get("type")), None)
    if kind is None:
        raise invalid_request(f"response_format.type must be one of {', '.join(_KINDS)}.", param=_PARAM)
    if kind == "json_schema":
        described = value.get("json_schema")
        if not isinstance(described, dict) or not isinstance(described.get("schema"), dict):
            raise invalid_request("response_format.json_schema must be an object with a schema.", param=_PARAM)
    return kind
