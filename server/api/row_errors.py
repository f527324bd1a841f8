"""What the database says of a request, as answers: not there, not possible now, never possible."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.api.errors import ApiError, invalid_request
from server.api.json_answer import refusal
from server.store import Conflict, Invalid, NotFound

if TYPE_CHECKING:
    from quart import Blueprint
    from quart.wrappers import Response


def answer_row_errors(blueprint: Blueprint) -> None:
    """Answer 404 for what is not there, 409 for what the rows do not allow, 400 for what could never be stored."""

    @blueprint.errorhandler(NotFound)
    async def not_found(error: NotFound) -> Response:
        return refusal(ApiError(404, "not_found", str(error)))

    @blueprint.errorhandler(Conflict)
    async def conflict(error: Conflict) -> Response:
        return refusal(ApiError(409, "conflict", str(error), retryable=False))

    @blueprint.errorhandler(Invalid)
    async def invalid(error: Invalid) -> Response:
        return refusal(invalid_request(str(error)))
