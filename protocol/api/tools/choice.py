"""`tool_choice` in all of its spellings."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias, cast

from protocol.api.errors import ApiError, invalid_request

Mode: TypeAlias = Literal["auto", "none", "required", "named"]

_PLAIN: Final = ("auto", "none", "required")
_PARAM: Final = "tool_choice"


class ToolChoice(NamedTuple):
    """What the model may, or must, call; `name` is set for the mode `named` alone."""

    mode: Mode
    name: str = ""

    @property
    def forced(self) -> bool:
        """A call must come."""
        return self.mode in ("required", "named")


def read_choice(value: object) -> ToolChoice:
    """Read a member `tool_choice`; absent and null mean `auto`. Raises ApiError 400."""
    if value is None:
        return ToolChoice("auto")
    kind = value.get("type") if isinstance(value, dict) else value
    if kind in _PLAIN:
        return ToolChoice(cast("Mode", kind))
    if kind != "function" or not isinstance(value, dict):
        raise _wrong()
    nested = value.get("function")
    if not isinstance(nested, dict | None):
        raise _wrong()
    given = [name for name in ((nested or {}).get("name"), value.get("name")) if name is not None]
    if not given or not all(isinstance(name, str) and name for name in given):
        raise invalid_request("tool_choice must name the function that is to be called.", param=_PARAM)
    if len(set(given)) > 1:
        raise invalid_request("tool_choice names two different functions; name one.", param=_PARAM)
    return ToolChoice("named", given[0])


def _wrong() -> ApiError:
    return invalid_request(
        'tool_choice must be "auto", "none", "required" or {"type": "function", "function": {"name": …}}.',
        param=_PARAM,
    )
