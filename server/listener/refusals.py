"""Answers that the listener gives itself, before any application code runs: complete HTTP/1.1 responses, then close."""

from __future__ import annotations

import json
from http import HTTPStatus


def refusal(status: int, text: str, request_id: str) -> bytes:
    """Return a whole response with the public error envelope; the connection is closed after it."""
    body = json.dumps(
        {"error": {"message": text, "type": "invalid_request_error", "code": "invalid_request_error"}},
        separators=(",", ":"),
    ).encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        f"Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"X-Request-ID: {request_id}\r\n"
        f"Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
