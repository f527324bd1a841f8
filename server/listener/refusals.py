"""Answers that the listener gives itself, where no application code can: complete, and the connection ends behind."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any


def refusal(status: int, text: str, request_id: str) -> bytes:
    """Return a whole response with the public error envelope; the connection is closed after it."""
    body = _envelope("invalid_request_error", text)
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        f"Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"X-Request-ID: {request_id}\r\n"
        f"Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


def crash_answer(request_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the ASGI events of the answer to a request whose application crashed outside all its own recovery."""
    body = _envelope("internal_error", "internal server error")
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id.encode("ascii")),
        (b"request-id", request_id.encode("ascii")),
    ]
    return (
        {"type": "http.response.start", "status": 500, "headers": headers},
        {"type": "http.response.body", "body": body},
    )


def _envelope(kind: str, text: str) -> bytes:
    error = {"message": text, "type": kind, "code": kind}
    return json.dumps({"error": error}, separators=(",", ":")).encode()
