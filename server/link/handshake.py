"""The WebSocket upgrade answer (RFC 6455, section 4.2): checks of the request head, and the bytes of the response."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Final, Protocol

NONCE_HEADER: Final = "X-Darkbloom-Registration-Nonce"
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES: Final = 16


class UpgradeHead(Protocol):
    """What the handshake reads of a parsed request head; header names are in lower case."""

    @property
    def method(self) -> bytes:
        """The method as sent."""

    @property
    def version(self) -> bytes:
        """`1.1` or `1.0`."""

    def all(self, name: bytes) -> list[bytes]:
        """Return every value of a header, in order."""

    def tokens(self, name: bytes) -> set[bytes]:
        """Return the comma-separated tokens of a header in lower case."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The request is no upgrade that can be served; `response` is the whole answer, after which the socket closes."""

    status: int
    response: bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """The upgrade is granted; `response` ends with the blank line."""

    response: bytes


def answer_upgrade(head: UpgradeHead, registration_nonce: str) -> Accepted | Refused:
    """Judge the head and make the answer: 101, or 400 or 426 with a sentence that says what to send.

    No extension and no sub-protocol is ever granted, whatever the client offers.
    """
    if head.method != b"GET" or head.version != b"1.1":
        return _refuse(400, "Bad Request", "The provider endpoint takes GET with HTTP/1.1 only.")
    if b"websocket" not in head.tokens(b"upgrade") or b"upgrade" not in head.tokens(b"connection"):
        return _refuse(
            426,
            "Upgrade Required",
            "The provider endpoint speaks WebSocket: send Upgrade: websocket and Connection: Upgrade.",
            "Upgrade: websocket\r\nConnection: Upgrade, close\r\n",
        )
    if head.all(b"sec-websocket-version") != [b"13"]:
        return _refuse(
            426,
            "Upgrade Required",
            "The WebSocket version is not supported: send Sec-WebSocket-Version: 13.",
            "Upgrade: websocket\r\nConnection: Upgrade, close\r\nSec-WebSocket-Version: 13\r\n",
        )
    keys = head.all(b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        return _refuse(400, "Bad Request", "Send one Sec-WebSocket-Key: the base64 text of 16 random bytes.")
    accept = base64.b64encode(hashlib.sha1(keys[0] + _GUID, usedforsecurity=False).digest()).decode()
    return Accepted(
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n{NONCE_HEADER}: {registration_nonce}\r\n\r\n"
        ).encode()
    )


def _is_key(value: bytes) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == _KEY_BYTES
    except binascii.Error:
        return False


def _refuse(status: int, phrase: str, text: str, headers: str = "Connection: close\r\n") -> Refused:
    body = text + "\n"
    return Refused(
        status,
        (
            f"HTTP/1.1 {status} {phrase}\r\n{headers}Content-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode(),
    )
