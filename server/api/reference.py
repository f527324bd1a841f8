"""`/openapi.json` and `/reference`: the description of this API, for programs and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec
import trio
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


class Reference:
    """The document and its page, each made once, when it is asked for first; in a thread, for it takes 60 ms."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._making = trio.Lock()
        self._made: dict[str, bytes] = {}

    async def get(self, name: Literal["document", "page"]) -> bytes:
        """Give the bytes of one of them."""
        async with self._making:
            if name not in self._made:
                make = self._document if name == "document" else self._page
                self._made[name] = await trio.to_thread.run_sync(make)
            return self._made[name]

    def _built(self) -> dict[str, Any]:
        return build_document(OPERATIONS, version=self._version, families=FAMILIES)

    def _document(self) -> bytes:
        return msgspec.json.encode(self._built())

    def _page(self) -> bytes:
        style = f"{PAGE_PATH}/{STYLE_NAME}"
        return ReferencePage(self._built(), document_path=DOCUMENT_PATH, style_path=style).html()


def reference_blueprint(version: str) -> Blueprint:
    """Serve the document and its page to anybody."""
    blueprint = Blueprint("reference", __name__)
    reference = Reference(version)

    @blueprint.get(DOCUMENT_PATH)
    async def openapi() -> Response:
        return public_bytes(await reference.get("document"), "application/json", seconds=FRESH_SECONDS)

    @blueprint.get(PAGE_PATH)
    async def page() -> Response:
        html = await reference.get("page")
        return public_bytes(html, "text/html; charset=utf-8", seconds=FRESH_SECONDS, headers=PAGE_HEADERS)

    @blueprint.get(f"{PAGE_PATH}/<file>")
    async def part(file: str) -> Response:
        if file != STYLE_NAME:
            raise ApiError(404, "not_found", f"There is no {request.path[:200]} here.")
        return public_bytes(style_sheet(), "text/css; charset=utf-8", seconds=FRESH_SECONDS, headers=PAGE_HEADERS)

    return blueprint
