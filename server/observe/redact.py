"""What must not leave the process in a log line: masking by name, by pattern, and of addresses and foreign text."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Final

MASK: Final = "[redacted]"
MAX_FOREIGN_TEXT: Final = 256
_MAX_DEPTH: Final = 5
_MAX_TEXT: Final = 4096

_SECRET_NAMES: Final = frozenset(
    {
        "authorization",
        "cookie",
        "set_cookie",
        "api_key",
        "x_api_key",
        "token",
        "secret",
        "password",
        "mnemonic",
        "private_key",
        "device_code",
        "user_code",
        "database_url",
    }
)
_SECRET_ENDINGS: Final = tuple("_" + name for name in sorted(_SECRET_NAMES))
_SECRET_VALUES: Final = re.compile(
    r"sk-db-[A-Za-z0-9_-]+"
    r"|eigeninference-(?:pt-)?[0-9a-f]{16,}"
    r"|(?:sk|rk|whsec)_[A-Za-z0-9_]{8,}"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+"
    r"|(?i:bearer) +[^\s\"',;]+"
    r"|-----BEGIN [A-Z ]+-----(?:.|\n)*?(?:-----END [A-Z ]+-----|\Z)"
    r"|age1[a-z0-9]{20,}|AGE-SECRET-KEY-1[A-Z0-9]+"
    r"|(?i:postgres(?:ql)?)://[^\s/:@]+:[^\s@]+@"
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def redact(name: str, value: object) -> object:
    """Return `value` as it may be logged under `name`: masked, with its texts searched, as plain JSON data."""
    return _redact(name, value, 0)


def redact_text(text: str) -> str:
    """Return `text` without anything that looks like a credential, at most 4,096 characters."""
    return _SECRET_VALUES.sub(MASK, text[: 2 * _MAX_TEXT])[:_MAX_TEXT]


def clean_foreign_text(text: str) -> str:
    """Return text that came from a provider as it may be logged: no control characters, at most 256 characters."""
    return redact_text(_CONTROL.sub(" ", text[: 2 * MAX_FOREIGN_TEXT]))[:MAX_FOREIGN_TEXT]


@lru_cache(maxsize=4096)
def mask_ip(text: str) -> str:
    """Return the network of an address: /24 of IPv4, /48 of IPv6; anything else is masked whole."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return MASK
    prefix = 24 if address.version == 4 else 48
    return str(ipaddress.ip_network((address, prefix), strict=False))


def _redact(name: str, value: object, depth: int) -> object:
    plain = name.lower().replace("-", "_")
    if plain in _SECRET_NAMES or plain.endswith(_SECRET_ENDINGS):
        return MASK
    if isinstance(value, str):
        return redact_text(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if depth >= _MAX_DEPTH:
        return MASK
    if isinstance(value, dict):
        return {str(key): _redact(str(key), member, depth + 1) for key, member in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_redact("", member, depth + 1) for member in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    return redact_text(str(value))
