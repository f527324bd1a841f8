"""`/openapi.json` and `/reference`: the description of this API, for programs and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from quart import Blueprint, request
from quart.wrappers import Response

from protocol.api.errors import ApiError
from server.api.declared import FAMILIES, OPERATIONS
from server.api.public_answer import public_bytes
from server.openapi import ReferencePage, build_document
from server.openapi.page import STYLE_NAME, style_sheet

if TYPE_CHECKING:
    from typing import Any

DOCUMENT_PATH: Final = "/openapi.json"
PAGE_PATH: Final = "/reference"
FRESH_SECONDS: Final = 300
PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def reference_blueprint(version: str) -> Blueprint:
    """Serve the document and its page to anybody; both are made when they are asked for first."""
    blueprint = Blueprint("reference", __name__)
    made: dict[str, bytes] = {}

    def document() -> dict[str, Any]:
        return build_document(OPERATIONS, version=version, families=FAMILIES)

    @blueprint.get(DOCUMENT_PATH)
    async def openapi() -> Response:
        if "document" not in made:
            made["document"] = msgspec.json.encode(document())
        return public_bytes(made["document"], "application/json", seconds=FRESH_SECONDS)

    @blueprint.get(PAGE_PATH)
    async def page() -> Response:
        if "page" not in made:
            style = f"{PAGE_PATH}/{STYLE_NAME}"
            made["page"] = ReferencePage(document(), document_path=DOCUMENT_PATH, style_path=style).html()
        return public_bytes(made["page"], "text/html; charset=utf-8", seconds=FRESH_SECONDS, headers=PAGE_HEADERS)

    @blueprint.get(f"{PAGE_PATH}/<file>")
    async def part(file: str) -> Response:
        if file != STYLE_NAME:
            raise ApiError(404, "not_found", f"There is no {request.path[:200]} here.")
        return public_bytes(style_sheet(), "text/css; charset=utf-8", seconds=FRESH_SECONDS, headers=PAGE_HEADERS)

    return blueprint
