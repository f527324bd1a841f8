"""The head of one HTTP/1.1 request: finding its end, parsing it strictly, deciding how its body is framed.

Invariant: a head that this module accepts means the same to h11 (held by a property test); what could be read in two
ways (both length headers, two hosts, folded lines, unknown codings) is refused here.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

import msgspec

MAX_HEAD_BYTES: Final = 16 * 1024
PROVIDER_PATH: Final = b"/ws/provider"

_BLANK_LINE = re.compile(rb"\n\r?\n")
_REQUEST_LINE = re.compile(rb"([-!#$%&'*+.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) HTTP/([0-9]\.[0-9])")
HEADER_LINE = re.compile(rb"([-!#$%&'*+.^_`|~0-9A-Za-z]+):[ \t]*((?:[^\x00\s]+(?:[ \t]+[^\x00\s]+)*)?)[ \t]*")
_LENGTH = re.compile(rb"[0-9]{1,18}")


class HeadRefused(Exception):
    """The request head cannot be served; `status` is the answer and the text a sentence for the client."""

    def __init__(self, status: int, text: str) -> None:
        """Keep the status to answer with and the sentence to say."""
        super().__init__(text)
        self.status = status


class RequestHead(msgspec.Struct, frozen=True):
    """One parsed request head.

    `method` is as sent, `target` is path and query (or `*`), `version` is `1.0` or `1.1` (or `2.0` for the HTTP/2
    preface), header names are in lower case, `raw` is the head with its blank line. `content_length` is None for a
    chunked body.
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
    def closes(self) -> bool:
        """True when the client wants the connection closed behind the answer (always so in HTTP/1.0)."""
        return self.version == b"1.0" or b"close" in self.tokens(b"connection")

    @property
    def waits_to_continue(self) -> bool:
        """True when the client holds its body back until it is told to go on (RFC 9110 10.1.1)."""
        return self.version == b"1.1" and b"100-continue" in self.tokens(b"expect")

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
    content_length = _content_length(headers)
    _check_host(headers, version)
    return RequestHead(method, _origin_form(method, target), version, headers, raw, content_length)


def _parse_headers(lines: list[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    headers = []
    for line in lines:
        match = HEADER_LINE.fullmatch(line)
        if match is None:
            raise HeadRefused(400, "A header line is malformed; send NAME: VALUE without folding.")
        headers.append((match[1].lower(), match[2]))
    return tuple(headers)


def _check_host(headers: tuple[tuple[bytes, bytes], ...], version: bytes) -> None:
    hosts = [name for name, _ in headers].count(b"host")
    if hosts > 1 or (hosts == 0 and version == b"1.1"):
        raise HeadRefused(400, f"A request needs one Host header and this one has {hosts}; send exactly one.")


def _origin_form(method: bytes, target: bytes) -> bytes:
    """Return path and query of a target; the form with scheme and host is for proxies, but must be read (RFC 9112)."""
    if target.startswith(b"/") or (method == b"OPTIONS" and target == b"*"):
        return target
    if target.lower().startswith((b"http://", b"https://")):
        try:
            parts = urlsplit(target)
            named = parts.hostname is not None and (parts.port is None or parts.port >= 0)
        except ValueError:
            named = False
        if named:
            return (parts.path or b"/") + (b"?" + parts.query if parts.query else b"")
    raise HeadRefused(400, "The request target is malformed; send a path that begins with /.")


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
