"""SemVer 2.0 comparison: a pre-release sorts below its release, build metadata is ignored."""

import re
from typing import Final, NamedTuple

_PATTERN: Final = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-((?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*))?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
)
MAX_VERSION_CHARS: Final = 128

_RELEASE: Final = (1,)


class Version(NamedTuple):
    """A version that compares by SemVer precedence; `pre` is opaque."""

    major: int
    minor: int
    patch: int
    pre: tuple[object, ...]


def parse_version(text: str) -> Version | None:
    """Read a version; None when it is not SemVer 2.0 or longer than `MAX_VERSION_CHARS`."""
    found = _PATTERN.fullmatch(text) if len(text) <= MAX_VERSION_CHARS else None
    if found is None:
        return None
    return Version(int(found[1]), int(found[2]), int(found[3]), _precedence(found[4]))


def is_below(version: str, floor: str) -> bool:
    """Say whether a provider version is below a floor; an empty floor is none, an unreadable version is always below.

    Raises `ValueError` when the floor itself is not SemVer.
    """
    if not floor:
        return False
    lowest = parse_version(floor)
    if lowest is None:
        raise ValueError(f"The version floor {floor!r} is not SemVer; write for example 0.6.31.")
    parsed = parse_version(version)
    return parsed is None or parsed < lowest


class VersionRule(NamedTuple):
    """Versions from `low` (included) up to `high` (excluded); equal precedence when `exact`."""

    low: Version | None
    high: Version | None
    exact: Version | None

    def matches(self, version: Version) -> bool:
        """Say whether a version falls under this rule."""
        if self.exact is not None:
            return version == self.exact
        return (self.low is None or version >= self.low) and (self.high is None or version < self.high)


def parse_rule(text: str) -> VersionRule:
    """Read an exact version (`0.6.30`) or a range (`>=0.6.0 <0.6.31`, either half may be missing).

    Raises `ValueError`.
    """
    low = high = exact = None
    parts = text.split()
    for part in parts:
        mark = ">=" if part.startswith(">=") else "<" if part.startswith("<") else ""
        version = parse_version(part.removeprefix(mark))
        taken = {">=": low, "<": high, "": exact or len(parts) > 1 or None}[mark]
        if version is None or taken:
            raise ValueError(f"The version rule {text!r} is not readable; write 0.6.30 or >=0.6.0 <0.6.31.")
        if mark == ">=":
            low = version
        elif mark == "<":
            high = version
        else:
            exact = version
    if not parts:
        raise ValueError("The version rule is empty; write 0.6.30 or >=0.6.0 <0.6.31.")
    return VersionRule(low, high, exact)


def _precedence(pre: str | None) -> tuple[object, ...]:
    """Order pre-release identifiers: numbers below words, fewer below more, none at all (a release) above all."""
    if pre is None:
        return (_RELEASE,)
    words = tuple((0, int(word), "") if word.isdigit() else (1, 0, word) for word in pre.split("."))
    return ((0,), *words)
