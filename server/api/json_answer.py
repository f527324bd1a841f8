"""JSON responses of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from quart.wrappers import Response

if TYPE_CHECKING:
    from collections.abc import Mapping


def json_answer(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A response with the compact JSON of `value`."""
    return Response(
        msgspec.json.encode(value), status=status, content_type="application/json", headers=dict(headers or {})
    )
