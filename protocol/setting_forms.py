"""Forms of setting values: how each is written, read, shown, and explained when it is wrong."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar
from urllib.parse import urlsplit

from protocol.rfc3339 import format_rfc3339, parse_rfc3339
from protocol.semver import parse_version

T = TypeVar("T")

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE: Final = re.compile(r"(\d+) ?(B|KiB|MiB|GiB|TiB)?", re.ASCII)
_BYTES: Final = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_NUMBER: Final = re.compile(r"[+-]?\d{1,19}(?:\.\d{1,19})?", re.ASCII)
_INTEGER: Final = re.compile(r"[+-]?\d{1,19}", re.ASCII)


class Secret:
    """A value that no `repr`, log line or listing shows; `reveal` gives it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Give the value itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(hidden)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class HostPort(NamedTuple):
    """An address to listen on or to connect to."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Form(Generic[T]):
    """One form: `accepted` explains it in words, `parse` raises `ValueError`, `show` writes a value back."""

    accepted: str
    parse: Callable[[str], T]
    show: Callable[[T], str]
    secret: bool = False


def text() -> Form[str]:
    """Any text that is not empty."""
    return Form("text", _not_empty, str)


def integer(low: int, high: int) -> Form[int]:
    """A whole number in a range."""

    def parse(written: str) -> int:
        if _INTEGER.fullmatch(written) is None:
            raise ValueError
        return _in_range(int(written), low, high)

    return Form(f"a whole number from {low} to {high}", parse, str)


def number(low: float, high: float) -> Form[float]:
    """A decimal number in a range, without exponent."""

    def parse(written: str) -> float:
        if _NUMBER.fullmatch(written) is None:
            raise ValueError
        return _in_range(float(written), low, high)

    return Form(f"a number from {low:g} to {high:g}", parse, _plain)


def boolean() -> Form[bool]:
    """A switch."""

    def parse(written: str) -> bool:
        if written.lower() in _TRUE:
            return True
        if written.lower() in _FALSE:
            return False
        raise ValueError

    return Form("1/true/yes/on or 0/false/no/off", parse, lambda value: "true" if value else "false")


def duration(low: float = 0.0, high: float = 3650 * 86400.0) -> Form[float]:
    """A time span, read as seconds."""

    def parse(written: str) -> float:
        found = _DURATION.fullmatch(written)
        if found is None:
            raise ValueError
        return _in_range(float(found[1]) * _SECONDS[found[2]], low, high)

    accepted = f"a duration such as 250ms, 30s, 5m or 1h, from {show_duration(low)} to {show_duration(high)}"
    return Form(accepted, parse, show_duration)


def size(low: int = 0, high: int = 2**50) -> Form[int]:
    """An amount of bytes."""

    def parse(written: str) -> int:
        found = _SIZE.fullmatch(written)
        if found is None:
            raise ValueError
        return _in_range(int(found[1]) * _BYTES[found[2] or "B"], low, high)

    accepted = f"bytes such as 65536, 64 KiB or 16 MiB, from {show_size(low)} to {show_size(high)}"
    return Form(accepted, parse, show_size)


def choice(*words: str) -> Form[str]:
    """One word of a closed set."""

    def parse(written: str) -> str:
        if written not in words:
            raise ValueError
        return written

    return Form("one of: " + ", ".join(words), parse, str)


def words() -> Form[tuple[str, ...]]:
    """A list of texts between commas; an empty value is the empty list."""
    return Form("a comma-separated list", _split, ",".join)


def networks() -> Form[tuple[Network, ...]]:
    """A list of address ranges."""

    def parse(written: str) -> tuple[Network, ...]:
        return tuple(ipaddress.ip_network(part) for part in _split(written))

    def show(value: tuple[Network, ...]) -> str:
        return ",".join(str(network) for network in value)

    return Form("a comma-separated list of networks such as 127.0.0.0/8,::1/128", parse, show)


def pairs(mark: str, of: Form[T]) -> Form[Mapping[str, T]]:
    """A list of `name<mark>value` entries; a name stands once."""

    def parse(written: str) -> Mapping[str, T]:
        entries: dict[str, T] = {}
        for part in _split(written):
            name, found, value = part.rpartition(mark)
            if not found or not name or name in entries:
                raise ValueError
            entries[name] = of.parse(value)
        return entries

    def show(value: Mapping[str, T]) -> str:
        return ",".join(f"{name}{mark}{of.show(member)}" for name, member in value.items())

    return Form(f"a comma-separated list of name{mark}value, each value {of.accepted}", parse, show)


def url(*schemes: str) -> Form[str]:
    """An absolute URL of one of the schemes."""

    def parse(written: str) -> str:
        parts = urlsplit(written)
        if parts.scheme not in schemes or not parts.netloc or any(char.isspace() for char in written):
            raise ValueError
        return written

    return Form("a URL such as " + " or ".join(f"{scheme}://host" for scheme in schemes), parse, str)


def path() -> Form[Path]:
    """A path of the file system; `~` stands for the home directory."""
    return Form("a path", lambda written: Path(_not_empty(written)).expanduser(), str)


def host_port() -> Form[HostPort]:
    """A host and a port; IPv6 hosts stand in brackets."""

    def parse(written: str) -> HostPort:
        host, found, port = written.rpartition(":")
        if not found or not host or (":" in host and not (host.startswith("[") and host.endswith("]"))):
            raise ValueError
        return HostPort(host.strip("[]"), integer(0, 65535).parse(port))

    def show(value: HostPort) -> str:
        return f"[{value.host}]:{value.port}" if ":" in value.host else f"{value.host}:{value.port}"

    return Form("host:port such as 127.0.0.1:9090", parse, show)


def version() -> Form[str]:
    """A SemVer version."""

    def parse(written: str) -> str:
        if parse_version(written) is None:
            raise ValueError
        return written

    return Form("a version such as 0.6.31", parse, str)


def timestamp() -> Form[float]:
    """A moment, read as Unix seconds."""
    return Form("a time such as 2026-07-15T12:00:00Z", parse_rfc3339, format_rfc3339)


def secret() -> Form[Secret]:
    """A text that is never shown; it may come from a file that NAME_FILE names."""
    return Form("a secret text, or NAME_FILE with the path of a file", lambda w: Secret(_not_empty(w)), repr, True)


def secrets() -> Form[tuple[Secret, ...]]:
    """A list of secrets between commas."""
    accepted = "a comma-separated list of secret texts, or NAME_FILE with the path of a file"
    return Form(accepted, lambda w: tuple(Secret(part) for part in _split(w)), repr, True)


def show_duration(seconds: float) -> str:
    """Write seconds in the largest unit that needs no fraction."""
    for unit in ("d", "h", "m", "s"):
        amount = seconds / _SECONDS[unit]
        if amount >= 1 and amount == int(amount):
            return f"{int(amount)}{unit}"
    return f"{_plain(round(seconds * 1000, 6))}ms" if seconds else "0s"


def show_size(amount: int) -> str:
    """Write bytes in the largest unit that needs no fraction."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if amount >= _BYTES[unit] and amount % _BYTES[unit] == 0:
            return f"{amount // _BYTES[unit]} {unit}"
    return str(amount)


def _plain(value: float) -> str:
    return f"{value:.15g}"


N = TypeVar("N", int, float)


def _in_range(value: N, low: N, high: N) -> N:
    if not low <= value <= high:
        raise ValueError
    return value


def _not_empty(written: str) -> str:
    if not written:
        raise ValueError
    return written


def _split(written: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in written.split(",") if part.strip())
