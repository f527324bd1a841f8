"""Members beside the conversation and the tools: stop strings, thinking, output format, sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.api.anthropic.blocks import bad
from protocol.api.parameters import is_whole, read_stops

if TYPE_CHECKING:
    from collections.abc import Mapping

PASSED_ON: Final = ("max_tokens", "temperature", "top_p", "top_k", "metadata")
"""Members of the same name and meaning in chat, which checks their values."""

_EFFORTS: Final = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_SCHEMA_NAME: Final = "response"


def lower_stops(value: object) -> list[str]:
    """The caller's stop strings; raises ApiError 400 unless they are an array of strings."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise bad("stop_sequences", "must be an array of strings")
    for index, stop in enumerate(value):
        if not isinstance(stop, str) or not stop:
            raise bad(f"stop_sequences[{index}]", "must be a non-empty string")
    return read_stops(value, "stop_sequences")


def lower_options(values: Mapping[str, object]) -> dict[str, object]:
    """The remaining members of the chat request; raises ApiError 400."""
    metadata = values.get("metadata")
    if not isinstance(metadata, dict | None):
        raise bad("metadata", "must be an object")
    if values.get("mcp_servers"):
        raise bad("mcp_servers", "must be empty: this service calls no other servers")
    if values.get("container") is not None:
        raise bad("container", "must be absent: this service runs no code")
    lowered = {name: values[name] for name in PASSED_ON if values.get(name) is not None}
    lowered |= _thinking(values.get("thinking"))
    return lowered | _output(values.get("output_config"), values.get("output_format"))


def _thinking(value: object) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad("thinking", "must be an object with a type")
    match value.get("type"):
        case "enabled":
            budget = value.get("budget_tokens")
            if budget is None:
                return {"reasoning": {"enabled": True}}
            if not is_whole(budget) or not isinstance(budget, int) or budget <= 0:
                raise bad("thinking.budget_tokens", "must be a positive integer")
            return {"reasoning": {"enabled": True, "max_tokens": budget}}
        case "adaptive":
            return {"reasoning": {"enabled": True}}
        case "disabled":
            return {"reasoning": {"enabled": False}}
        case _:
            raise bad("thinking.type", 'must be "enabled", "adaptive" or "disabled"')


def _output(config: object, older_format: object) -> dict[str, object]:
    if not isinstance(config, dict | None):
        raise bad("output_config", "must be an object")
    lowered: dict[str, object] = {}
    effort = config.get("effort") if config is not None else None
    if effort is not None:
        if not isinstance(effort, str) or effort not in _EFFORTS:
            raise bad("output_config.effort", f"must be one of {', '.join(_EFFORTS)}")
        lowered["reasoning_effort"] = _EFFORTS[effort]
    wanted, at = (config or {}).get("format"), "output_config.format"
    if wanted is None:
        wanted, at = older_format, "output_format"
    if wanted is None:
        return lowered
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        raise bad(f"{at}.type", 'must be "json_schema"')
    schema = wanted.get("schema")
    if not isinstance(schema, dict):
        raise bad(f"{at}.schema", "must be a JSON schema, as an object")
    described = {"name": _SCHEMA_NAME, "schema": schema, "strict": True}
    return lowered | {"response_format": {"type": "json_schema", "json_schema": described}}
