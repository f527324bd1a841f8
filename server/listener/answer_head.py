"""The head of an HTTP/1.1 answer: status line, headers, and how the body behind it is framed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final, Literal, NamedTuple, TypeAlias

Framing: TypeAlias = Literal["none", "counted", "chunked", "until_close"]

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_BODILESS: Final = frozenset({204, 304})
# The framing is ours to say, and hop-by-hop headers are the connection's.
_OURS: Final = frozenset({b"transfer-encoding", b"connection", b"keep-alive", b"date"})
# h11's rules: a token, and a value without line ends or NUL.
_BAD_HEADER: Final = "A header of an answer holds characters that no header may hold."
_NAME: Final = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+")


class AnswerHead(NamedTuple):
    """The bytes of a head; `length` is the announced size of the body where it is counted."""

    raw: bytes
    framing: Framing
    length: int


def answer_head(
    status: int, headers: Iterable[tuple[bytes, bytes]], *, method: bytes, version: bytes, closes: bool
) -> AnswerHead:
    """Build the head of an answer to a request of `method` and `version`.

    A body without a length is chunked, or for HTTP/1.0 ends with the connection. Raises ValueError for a header that
    cannot be sent: answers are split neither by mistake nor by design.
    """
    lines = [_status_line(status)]
    length: int | None = None
    for name, value in headers:
        if name in _OURS:
            continue
        if not _is_name(name):
            raise ValueError(_BAD_HEADER)
        if name == b"content-length":
            length = int(value)
        lines.append(b"%b: %b\r\n" % (name, value))
    lines.append(_date_line(int(time.time())))
    if _holds_foreign_line_ends(lines):
        raise ValueError(_BAD_HEADER)
    framing: Framing
    if method == b"HEAD" or status in _BODILESS:
        framing = "none"
    elif length is not None:
        framing = "counted"
    elif version == b"1.1":
        framing = "chunked"
        lines.append(b"transfer-encoding: chunked\r\n")
    else:
        framing = "until_close"
    lines.append(b"connection: close\r\n\r\n" if closes else b"\r\n")
    return AnswerHead(b"".join(lines), framing, length or 0)


@lru_cache(maxsize=1024)
def _is_name(name: bytes) -> bool:
    return _NAME.fullmatch(name) is not None


def _holds_foreign_line_ends(lines: list[bytes]) -> bool:
    """True when a value brought a line end or NUL of its own: each line has one CR and one LF from us."""
    joined = b"".join(lines)
    return joined.count(b"\r") != len(lines) or joined.count(b"\n") != len(lines) or b"\0" in joined


@lru_cache(maxsize=128)
def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode("ascii")


@lru_cache(maxsize=2)
def _date_line(second: int) -> bytes:
    return f"date: {formatdate(second, usegmt=True)}\r\n".encode("ascii")
