"""Checks of the well-known request parameters: a deterministic client error must not burn a dispatch."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from protocol.api.errors import invalid_request

if TYPE_CHECKING:
    from collections.abc import Mapping

BOUND_FIELDS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")
"""Names of the output bound, in order of precedence."""

LARGEST_INTEGER: Final = 2**63 - 1
LARGEST_BOUND: Final = 2**31 - 1
"""A larger output bound means the same as this one: more than any model writes."""
MAX_STOPS: Final = 16
MAX_STOP_CHARACTERS: Final = 4096
MAX_BIASES: Final = 4096
MAX_STOPS_WHEN_FORCED: Final = 4
MAX_STOP_BYTES: Final = 256


@dataclass(frozen=True, slots=True)
class _Range:
    low: int
    high: int
    whole: bool = False
    above: bool = False
    """`low` itself is not allowed."""


_RANGES: Final = {
    "temperature": _Range(0, 2),
    "top_p": _Range(0, 1),
    "min_p": _Range(0, 1),
    "frequency_penalty": _Range(-2, 2),
    "presence_penalty": _Range(-2, 2),
    "repetition_penalty": _Range(0, 100, above=True),
    "top_logprobs": _Range(0, 20, whole=True),
    "top_k": _Range(-1, LARGEST_INTEGER, whole=True),
    "seed": _Range(-(2**63), LARGEST_INTEGER, whole=True),
}
_BOOLEANS: Final = ("logprobs", "parallel_tool_calls")
_OBJECTS: Final = ("reasoning", "chat_template_kwargs", "logit_bias", "stream_options")
_SAMPLING: Final = frozenset({*_RANGES, *_BOOLEANS, *_OBJECTS, "reasoning_effort"})
_BIAS: Final = _Range(-100, 100)


def is_number(value: object) -> bool:
    """True for a JSON number; `true` and `false` are not numbers."""
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def is_whole(value: object) -> bool:
    """True for a JSON integer as written: `5`, not `5.0` and not `true`."""
    return isinstance(value, int) and not isinstance(value, bool)


def output_bound(values: Mapping[str, object]) -> int | None:
    """The first positive bound among `BOUND_FIELDS`, at most `LARGEST_BOUND`; null and 0 count as unset.

    Raises ApiError 400 with the `param` for a negative, fractional or non-numeric bound.
    """
    found: int | None = None
    for name in BOUND_FIELDS:
        value = values.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST_INTEGER:
            raise invalid_request(f"{name} must be a positive integer, or absent.", param=name)
        if value > 0 and found is None:
            found = min(value, LARGEST_BOUND)
    return found


def check_sampling(values: Mapping[str, object]) -> None:
    """Raise ApiError 400 with the `param` for a well-known parameter of the wrong type or out of range."""
    if _SAMPLING.isdisjoint(values):
        return  # most requests name none of them
    for name, allowed in _RANGES.items():
        value = values.get(name)
        if value is not None and not _within(value, allowed):
            kind = "an integer" if allowed.whole else "a number"
            low = f"above {allowed.low} and up" if allowed.above else f"from {allowed.low}"
            raise invalid_request(f"{name} must be {kind} {low} to {allowed.high}.", param=name)
    for name in _BOOLEANS:
        if not isinstance(values.get(name), bool | None):
            raise invalid_request(f"{name} must be true or false.", param=name)
    for name in _OBJECTS:
        if not isinstance(values.get(name), dict | None):
            raise invalid_request(f"{name} must be an object.", param=name)
    if not isinstance(values.get("reasoning_effort"), str | None):
        raise invalid_request("reasoning_effort must be a string.", param="reasoning_effort")
    if values.get("top_logprobs") and values.get("logprobs") is not True:
        raise invalid_request("top_logprobs needs logprobs: true.", param="top_logprobs")
    biases = values.get("logit_bias")
    if isinstance(biases, dict) and len(biases) > MAX_BIASES:
        raise invalid_request(f"logit_bias takes at most {MAX_BIASES} tokens.", param="logit_bias")
    if isinstance(biases, dict) and not all(_within(bias, _BIAS) for bias in biases.values()):
        raise invalid_request("logit_bias takes numbers from -100 to 100.", param="logit_bias")


def _within(value: object, allowed: _Range) -> bool:
    if not (is_whole(value) if allowed.whole else is_number(value)):
        return False
    return in_range(value, allowed.low, allowed.high) and not (allowed.above and value == allowed.low)


def in_range(value: object, low: int, high: int) -> bool:
    """True if `value` is a number within the closed range."""
    return isinstance(value, (int, Decimal)) and low <= value <= high


def read_stops(value: object, name: str = "stop") -> list[str]:
    """The stop strings of a member, alone or in an array; raises ApiError 400 for anything else, and for too many."""
    if value is None:
        return []
    stops = value if isinstance(value, list) else [value]
    checked = [stop for stop in stops if isinstance(stop, str)]
    if len(checked) != len(stops):
        raise invalid_request(f"{name} must be a string or an array of strings.", param=name)
    if len(checked) > MAX_STOPS or any(len(stop) > MAX_STOP_CHARACTERS for stop in checked):
        raise invalid_request(
            f"{name} takes at most {MAX_STOPS} strings of at most {MAX_STOP_CHARACTERS} characters.", param=name
        )
    return checked


def check_forced_stops(stops: list[str], name: str = "stop") -> None:
    """Raise ApiError 400 for stop strings that a forced tool choice does not allow."""
    fits = all(0 < len(stop.encode()) <= MAX_STOP_BYTES for stop in stops)
    if len(stops) > MAX_STOPS_WHEN_FORCED or not fits:
        raise invalid_request(
            f"With a forced tool choice, {name} takes at most {MAX_STOPS_WHEN_FORCED} non-empty strings of at most "
            f"{MAX_STOP_BYTES} bytes.",
            param=name,
        )


def check_single_choice(values: Mapping[str, object]) -> None:
    """Raise ApiError 400 unless `n` is absent, null or 1."""
    value = values.get("n")
    if value is None or (is_whole(value) and value == 1):
        return
    raise invalid_request("n must be 1; send several requests for several answers.", param="n")
