"""Stripe's webhooks: `/v1/billing/stripe/webhook` for our account, `…/connect/webhook` for connected ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from quart import Blueprint, request
from quart.wrappers import Response

from protocol.api.errors import payload_too_large
from server.payments import refusals
from server.payments.webhooks import MAX_BODY_BYTES

if TYPE_CHECKING:
    from server.payments.webhooks import WebhookDesk

SIGNATURE_HEADER: Final = "Stripe-Signature"
_TEXTS: Final = {200: "", 400: "invalid signature or event", 500: "try again"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StripeWebhookServices:
    """A desk is None when its signing secret is not configured: then nothing is believed."""

    deposit_hooks: WebhookDesk | None
    connect_hooks: WebhookDesk | None


def stripe_webhooks_blueprint(services: StripeWebhookServices) -> Blueprint:
    """Serve the endpoints that Stripe calls; the signature over the raw bytes is their only credential."""
    blueprint = Blueprint("stripe_webhooks", __name__)

    @blueprint.post("/v1/billing/stripe/webhook")
    async def deposits() -> Response:
        return await _receive(services.deposit_hooks)

    @blueprint.post("/v1/billing/stripe/connect/webhook")
    async def connect() -> Response:
        return await _receive(services.connect_hooks)

    return blueprint


async def _receive(desk: WebhookDesk | None) -> Response:
    if desk is None:
        raise refusals.not_configured()
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise payload_too_large(MAX_BODY_BYTES)
    body = cast(bytes, await request.get_data(cache=False))
    if len(body) > MAX_BODY_BYTES:
        raise payload_too_large(MAX_BODY_BYTES)
    status = await desk.receive(body, request.headers.get(SIGNATURE_HEADER, ""))
    return Response(_TEXTS[status], status=status, content_type="text/plain; charset=utf-8")
