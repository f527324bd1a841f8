"""The head of one HTTP/1.1 request: finding its end, parsing it strictly, deciding how its body is framed.

Invariant: a head that this module accepts means the same to h11, which parses it again; what could be read in two
ways (both length headers, folded lines, unknown codings) is refused here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_HEAD_BYTES: Final = 16 * 1024
PROVIDER_PATH: Final = b"/ws/provider"

_BLANK_LINE = re.compile(rb"\n\r?\n")
_REQUEST_LINE = re.compile(rb"([-!#$%&'*+.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) HTTP/([0-9]\.[0-9])")
_HEADER_LINE = re.compile(rb"([-!#$%&'*+.^_`|~0-9A-Za-z]+):[ \t]*((?:[^\x00\s]+(?:[ \t]+[^\x00\s]+)*)?)[ \t]*")
_LENGTH = re.compile(rb"[0-9]{1,18}")


class HeadRefused(Exception):
    """The request head cannot be served; `status` is the answer and the text a sentence for the client."""

    def __init__(self, status: int, text: str) -> None:
        """Keep the status to answer with and the sentence to say."""
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class RequestHead:
    """One parsed request head.

    `method` and `target` are as sent, `version` is `1.0` or `1.1` (or `2.0` for the HTTP/2 preface), header names are
    in lower case, `raw` is the head with its blank line. `content_length` is None for a chunked body.
    """

    method: bytes
    target: bytes
    version: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    raw: bytes
    content_length: int | None

    def all(self, name: bytes) -> list[bytes]:
        """Return every value of the header `name` (lower case), in order."""
        return [value for key, value in self.headers if key == name]

    def get(self, name: bytes) -> bytes | None:
        """Return the first value of the header `name` (lower case), or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def tokens(self, name: bytes) -> set[bytes]:
        """Return the comma-separated tokens of all values of `name`, in lower case."""
        return {token.strip().lower() for value in self.all(name) for token in value.split(b",")} - {b""}

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.partition(b"?")[0]

    @property
    def is_http2_preface(self) -> bool:
        """True for the first line of an HTTP/2 connection with prior knowledge (RFC 9113 3.4)."""
        return self.method == b"PRI" and self.target == b"*" and self.version == b"2.0"

    @property
    def is_provider_upgrade(self) -> bool:
        """True for a WebSocket upgrade to the provider path; any origin is welcome."""
        return (
            self.method == b"GET"
            and self.path == PROVIDER_PATH
            and self.version == b"1.1"
            and b"websocket" in self.tokens(b"upgrade")
            and b"upgrade" in self.tokens(b"connection")
            and self.content_length == 0
        )


def find_head_end(buffer: bytearray, searched: int = 0) -> int | None:
    """Return the number of bytes up to and with the blank line, or None; `searched` bytes were looked at before."""
    match = _BLANK_LINE.search(buffer, max(0, searched - 2))
    return None if match is None else match.end()


def skip_blank_lines(buffer: bytearray) -> None:
    """Remove empty lines before a request line (RFC 9112 2.2), in place."""
    start = 0
    while True:
        if buffer.startswith(b"\r\n", start):
            start += 2
        elif buffer.startswith(b"\n", start):
            start += 1
        else:
            break
    if start:
        del buffer[:start]


def parse_head(raw: bytes) -> RequestHead:
    """Parse one complete head (with its blank line).

    Raises HeadRefused with 400 for anything malformed or ambiguous, 405 for CONNECT, 501 for an unknown transfer
    coding and 505 for another major version.
    """
    lines = [line.removesuffix(b"\r") for line in raw.split(b"\n")]
    match = _REQUEST_LINE.fullmatch(lines[0])
    if match is None:
        raise HeadRefused(400, "The request line is malformed; send METHOD SP TARGET SP HTTP/1.1.")
    method, target, version = match.groups()
    headers = _parse_headers(lines[1:-2])
    if (method, target, version) == (b"PRI", b"*", b"2.0"):
        return RequestHead(method, target, version, headers, raw, 0)
    if version not in (b"1.1", b"1.0"):
        raise HeadRefused(505, "This HTTP version is not spoken here; use HTTP/1.1 or HTTP/2.")
    if method == b"CONNECT":
        raise HeadRefused(405, "CONNECT is not served; this is no proxy.")
    return RequestHead(method, target, version, headers, raw, _content_length(headers))


def without_upgrade(head: RequestHead) -> bytes:
    """Return the raw head without its Upgrade lines: the server may ignore an upgrade offer (RFC 9110 7.8)."""
    if head.get(b"upgrade") is None:
        return head.raw
    kept = [line for line in head.raw.split(b"\n") if not line.lower().startswith(b"upgrade:")]
    return b"\n".join(kept)


def _parse_headers(lines: list[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    headers = []
    for line in lines:
        match = _HEADER_LINE.fullmatch(line)
        if match is None:
            raise HeadRefused(400, "A header line is malformed; send NAME: VALUE without folding.")
        headers.append((match[1].lower(), match[2]))
    return tuple(headers)


def _content_length(headers: tuple[tuple[bytes, bytes], ...]) -> int | None:
    """Return the announced body length, 0 without a body, None for a chunked body."""
    lengths = {value for name, value in headers if name == b"content-length"}
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if codings:
        if lengths:
            raise HeadRefused(400, "Content-Length and Transfer-Encoding exclude each other; send one of them.")
        if codings != [b"chunked"]:
            raise HeadRefused(501, "Only the transfer coding chunked is understood.")
        return None
    if not lengths:
        return 0
    length = lengths.pop()
    if lengths or _LENGTH.fullmatch(length) is None:
        raise HeadRefused(400, "Content-Length must be one decimal number.")
    return int(length)
