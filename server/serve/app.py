"""The quart application with the layers around it: CORS → request log → recovery → drain gate → router.

The inference endpoints are called without quart; it serves everything else.

The request log is outside the recovery, so that the 500 of a crashed handler has its request id and is logged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from quart import Blueprint, request
from quart.wrappers import Response
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from protocol.api.errors import ApiError, invalid_request, payload_too_large
from server.answer import install_streaming
from server.observe import request_notes
from server.serve.endpoints import Endpoints
from server.serve.json_error import error_body
from server.serve.layers import Layers
from server.serve.lean_quart import LeanQuart
from server.serve.request_body import body_too_slow

if TYPE_CHECKING:
    from server.api import Endpoint
    from server.config import CoordinatorSettings
    from server.observe import Metrics
    from server.serve.asgi_types import AsgiApp
    from server.serve.drain import Drain


def build_app(
    settings: CoordinatorSettings,
    *,
    metrics: Metrics,
    drain: Drain,
    blueprints: Iterable[Blueprint],
    endpoints: Mapping[str, Endpoint] | None = None,
) -> QuartTrio:
    """Return the application that serves `blueprints`, and `endpoints` by their paths.

    A crash of a handler leaves quart (it has no handler for it) and becomes a 500 in the recovery layer. Errors of the
    framework itself (unknown path, wrong method, body too large or too slow) get the public envelope.
    """
    app = LeanQuart("darkbloom")
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    install_streaming(app, write_deadline_seconds=settings.write_deadline, body_seconds=settings.body_timeout)

    @app.before_request
    async def note_route() -> None:
        rule = request.url_rule
        if rule is not None:
            request_notes().route = rule.rule

    @app.errorhandler(HTTPException)
    async def framework_error(error: HTTPException) -> Response:
        return error_response(_translate(error, settings.max_body_bytes))

    @app.errorhandler(ApiError)
    async def api_error(error: ApiError) -> Response:
        return error_response(error)

    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    inner = cast("AsgiApp", app.asgi_app)
    routed = Endpoints(
        app,
        inner,
        endpoints or {},
        max_bytes=settings.max_body_bytes,
        max_sealed_bytes=settings.max_sealed_bytes,
        body_seconds=settings.body_timeout,
    )
    layered: Any = Layers(routed, metrics=metrics, drain=drain, cors_origins=settings.cors_origins)
    app.asgi_app = layered  # type: ignore[method-assign]
    return app


def error_response(error: ApiError) -> Response:
    """Return an error of the public API as a response."""
    response = Response(error_body(request.path, error), status=error.status, content_type="application/json")
    for name, value in error.headers():
        response.headers[name] = value
    return response


def _translate(error: HTTPException, max_body_bytes: int) -> ApiError:
    status = error.code or 500
    shown = f"{request.method} {request.scope['path'][:200]}"  # as it was sent: with each of its slashes
    if status == 404:
        return invalid_request(f"There is no {shown}; GET /reference shows what there is, below /v1.", status=404)
    if isinstance(error, MethodNotAllowed):
        allowed = tuple(sorted(error.valid_methods or ()))
        found = invalid_request(f"{shown} is not allowed; use {', '.join(allowed)}.", status=405)
        found.allow = allowed
        return found
    if status == 408:
        return body_too_slow()
    if status == 413:
        return payload_too_large(max_body_bytes)
    if status >= 500:
        return ApiError(status, "internal_error", "internal server error")
    return invalid_request(f"{shown} cannot be served; check the request.", status=status)
