"""Answers that are the same for everybody: cacheable for a while, with an ETag that saves the body."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec
from quart import request
from quart.wrappers import Response


def public_answer(value: object, *, seconds: int) -> Response:
    """Answer JSON that everybody may keep for so many seconds; 304 to whoever has it already."""
    return public_bytes(msgspec.json.encode(value), "application/json", seconds=seconds)


def public_bytes(body: bytes, content_type: str, *, seconds: int, headers: Mapping[str, str] | None = None) -> Response:
    """Answer a body that everybody may keep for so many seconds; 304 to whoever has it already."""
    tag = hashlib.sha256(body).hexdigest()[:32]
    found = {"Cache-Control": f"public, max-age={seconds}", "ETag": f'"{tag}"', **(headers or {})}
    if request.if_none_match.contains_weak(tag):
        answer = Response(b"", status=304, headers=found)
        answer.headers.pop("Content-Type", None)
        return answer
    return Response(body, content_type=content_type, headers=found)
