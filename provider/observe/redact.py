"""Taking out of log lines what names a person or opens a door; pure.

The log holds no prompts and no secrets to begin with; this is the second fence before a log leaves the machine.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

_SECRET: Final = re.compile(
    r"(?i)\b(bearer\s+)[^\s\"']+"
    r"|\b(?:sk|dk|pk|rk|hf|ghp|eigeninference)[-_][A-Za-z0-9_-]{12,}"
    r"|\b[A-Za-z0-9+/]{43}=(?![A-Za-z0-9+/=])"
    r"|\b[0-9a-fA-F]{64}\b"
)
_HOME: Final = re.compile(r"(/Users/|/home/)[^/\s\"']+")
_MAIL: Final = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
_ADDRESS: Final = re.compile(r"\b(?!127\.)(?:\d{1,3}\.){3}\d{1,3}\b")

REMOVED: Final = "(removed)"


def redact(line: str) -> str:
    """Give the line without tokens, keys, hashes, mail addresses, foreign IPv4 addresses and user names in paths."""
    line = _SECRET.sub(lambda found: (found[1] or "") + REMOVED, line)
    line = _HOME.sub(r"\1" + REMOVED, line)
    line = _MAIL.sub(REMOVED, line)
    return _ADDRESS.sub(REMOVED, line)


def redact_all(lines: Iterable[str]) -> Iterator[str]:
    """Give all lines redacted."""
    return (redact(line) for line in lines)
