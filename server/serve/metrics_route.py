"""`GET /metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Blueprint, Response, request

from protocol.api.errors import ApiError
from server.listener import ClientAddress
from server.observe import may_read_metrics, render
from server.serve.app import error_response

if TYPE_CHECKING:
    from server.config import CoordinatorSettings
    from server.observe import Metrics


def metrics_blueprint(settings: CoordinatorSettings, metrics: Metrics) -> Blueprint:
    """Serve the metrics to whoever has the token, or without one to clients on this machine."""
    blueprint = Blueprint("metrics", __name__)
    token = None if settings.metrics_token is None else settings.metrics_token.reveal()

    @blueprint.get("/metrics")
    async def read_metrics() -> Response:
        client = ClientAddress(request.remote_addr or "", "http")
        if not may_read_metrics(
            authorization=request.headers.get("Authorization"), token=token, client_is_loopback=client.is_loopback
        ):
            text = "Metrics need the bearer token of DARKBLOOM_METRICS_TOKEN, or a client on this machine."
            return error_response(ApiError(401, "authentication_error", text))
        body, content_type = render(metrics.families.registry, request.headers.get("Accept", ""))
        return Response(body, content_type=content_type)

    return blueprint
