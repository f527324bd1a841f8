"""`GET /v1/encryption-key`: the key to which clients may seal their requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quart import Blueprint

from server.api.public_answer import public_answer
from server.sealed.desk import encryption_unavailable

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.sealed import KeyRing

FRESH_SECONDS: Final = 300


def encryption_key_blueprint(ring: KeyRing | None) -> Blueprint:
    """Serve the current key to anybody; 503 where there is none."""
    blueprint = Blueprint("encryption_key", __name__)

    @blueprint.get("/v1/encryption-key")
    async def encryption_key() -> Response:
        if ring is None:
            raise encryption_unavailable()
        return public_answer(ring.current.described(), seconds=FRESH_SECONDS)

    return blueprint
