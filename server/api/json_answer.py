"""JSON responses of the API, errors among them, and how they write moments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, overload

import msgspec
from quart.wrappers import Response

from protocol.api.errors import openai_envelope
from protocol.rfc3339 import format_rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

    from protocol.api.errors import ApiError

MICROSECONDS: Final = 1_000_000


def json_answer(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A response with the compact JSON of `value`."""
    return Response(
        msgspec.json.encode(value), status=status, content_type="application/json", headers=dict(headers or {})
    )


def refusal(error: ApiError) -> Response:
    """An error in OpenAI's envelope."""
    return json_answer(openai_envelope(error), status=error.status, headers=dict(error.headers()))


@overload
def timestamp(microseconds: int) -> str: ...


@overload
def timestamp(microseconds: int | None) -> str | None: ...


def timestamp(microseconds: int | None) -> str | None:
    """A moment of the store as RFC 3339 in UTC, to the second."""
    return None if microseconds is None else format_rfc3339(microseconds // MICROSECONDS)
