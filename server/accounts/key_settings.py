"""What may be set on an API key, and how a JSON body says it: strict, sparse, a clear sentence for each mistake."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from protocol.api.errors import ApiError
from protocol.rfc3339 import parse_rfc3339
from server.billing.amounts import AmountError, parse_usd
from server.billing.key_spend import WINDOWS

if TYPE_CHECKING:
    from server.accounts.ports import LimitReset
    from server.store import Value

MAX_NAME: Final = 200
MAX_MODELS: Final = 200
MAX_MODEL_NAME: Final = 256
MAX_PER_MINUTE: Final = 10**12
MICROSECONDS: Final = 1_000_000

Changes = Mapping[str, "Value"]
"""Columns of `api_keys` with their new values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySettings:
    """The settings of a key: micro-USD per window, amounts a minute, microseconds since the epoch; None: not set."""

    name: str = ""
    disabled: bool = False
    limit_micro_usd: int | None = None
    limit_reset: LimitReset = "none"
    rpm_limit: int | None = None
    itpm_limit: int | None = None
    otpm_limit: int | None = None
    allowed_models: tuple[str, ...] = ()
    self_route_only: bool = False
    expires_at: int | None = None


def bad_request(message: str, *, param: str | None = None) -> ApiError:
    """400 `bad_request`, the answer to every malformed request of key management."""
    return ApiError(400, "bad_request", message, param=param)


def parse_changes(body: Mapping[str, object], *, now: int) -> dict[str, Value]:
    """Read the settings that a body names; absent ones are not in the result, `null` clears one.

    Unknown members are ignored. Raises ApiError 400 `bad_request` with the member's name.
    """
    found: dict[str, Value] = {}
    for member, (column, read) in _READERS.items():
        if member in body:
            try:
                found[column] = read(body[member])
            except (ValueError, OverflowError) as error:
                raise bad_request(f"{member}: {error}", param=member) from None
    expires_at = found.get("expires_at")
    if isinstance(expires_at, int) and expires_at <= now:
        raise bad_request("expires_at: The time lies in the past; give a later one, or null.", param="expires_at")
    return found


def models_text(models: tuple[str, ...]) -> str:
    """Write an allow-list as it is stored."""
    return json.dumps(list(models), ensure_ascii=False)


def clean_line(value: object, limit: int) -> str:
    """Give a text of one line, trimmed; raises ValueError for other types, control characters and too long ones."""
    if not isinstance(value, str):
        raise ValueError("This must be a text.")
    text = value.strip()
    if len(text) > limit:
        raise ValueError(f"This is longer than {limit} characters; shorten it.")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        raise ValueError("This holds a control character; remove it.")
    return text


def _name(value: object) -> str:
    return "" if value is None else clean_line(value, MAX_NAME)


def _flag(value: object) -> int:
    if not isinstance(value, bool):
        raise ValueError("This must be true or false.")
    return int(value)


def _usd(value: object) -> int | None:
    if value is None:
        return None
    try:
        return parse_usd(value)
    except AmountError as error:
        raise ValueError(str(error)) from None


def _reset(value: object) -> str:
    if value is None:
        return "none"
    if value not in WINDOWS:
        raise ValueError(f"This must be one of {', '.join(WINDOWS)}.")
    return cast(str, value)


def _per_minute(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_PER_MINUTE:
        raise ValueError(f"This must be a whole number from 0 to {MAX_PER_MINUTE}; 0 and null inherit.")
    return value or None


def _models(value: object) -> str:
    if value is None:
        return "[]"
    if not isinstance(value, list) or len(value) > MAX_MODELS:
        raise ValueError(f"This must be a list of at most {MAX_MODELS} model names.")
    names = tuple(dict.fromkeys(clean_line(one, MAX_MODEL_NAME) for one in value))
    if "" in names:
        raise ValueError("A model name is empty; remove it.")
    return models_text(names)


def _time(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError("This must be a time such as 2030-07-15T12:00:00Z.")
    return int(parse_rfc3339(value) * MICROSECONDS)


_READERS: Final[Mapping[str, tuple[str, Callable[[object], Value]]]] = {
    "name": ("name", _name),
    "disabled": ("disabled", _flag),
    "limit_usd": ("limit_micro_usd", _usd),
    "limit_reset": ("limit_reset", _reset),
    "rpm_limit": ("rpm_limit", _per_minute),
    "itpm_limit": ("itpm_limit", _per_minute),
    "otpm_limit": ("otpm_limit", _per_minute),
    "allowed_models": ("allowed_models", _models),
    "self_route_only": ("self_route_only", _flag),
    "expires_at": ("expires_at", _time),
}
