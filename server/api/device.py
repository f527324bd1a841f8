"""`/v1/device/…`: linking a machine (after RFC 8628). The machine gets a code, the person approves it.

The JSON form answers a waiting machine with 200; the form-encoded one speaks RFC 8628, errors included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from quart import Blueprint, request

from protocol.api.errors import ApiError
from server.accounts.device_login import (
    INTERVAL_SECONDS,
    LIVES_SECONDS,
    LinkedMachine,
    PendingLogin,
    printable,
)
from server.api.gate import (
    PRIVATE,
    answer_store_outage,
    client_ip,
    empty_answer,
    private_answer,
    read_body,
    read_object,
    request_origin,
    text_member,
)
from server.api.json_answer import json_answer, timestamp
from server.limits import RateLimited
from server.observe import mask_ip
from server.store import Conflict, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from quart.wrappers import Response

    from server.accounts.device_login import Decision, DeviceLogin, PollRefusal
    from server.accounts.provider_tokens import ProviderTokens
    from server.api.gate import AccountGate

GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
FORM: Final = "application/x-www-form-urlencoded"
MAX_FIELDS: Final = 32
APPROVED: Final = "The machine is linked to your account."
_POLL_ERRORS: Final[dict[PollRefusal, tuple[int, str]]] = {
    "slow_down": (429, "This machine asks too often; wait 5 seconds between two questions."),
    "access_denied": (403, "The request of this machine was denied."),
    "expired_token": (410, "The code has expired; run 'darkbloom login' again."),
    "invalid_grant": (404, "This device code is not known, or its token was collected already."),
}
_DECISION_ERRORS: Final[dict[Decision, tuple[int, str]]] = {
    "invalid_code": (404, "That code is not valid or has expired."),
    "already_used": (409, "That code has been used already."),
    "expired_code": (410, "That code is not valid or has expired."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceServices:
    """`console_url` is the origin of the console, None for the request's own; `region_of` describes an address."""

    gate: AccountGate
    device: DeviceLogin
    tokens: ProviderTokens
    console_url: str | None = None
    region_of: Callable[[str], str] = mask_ip


def device_blueprint(services: DeviceServices) -> Blueprint:
    """Serve the device login and the log-out of a machine."""
    blueprint = Blueprint("device", __name__)
    gate, device = services.gate, services.device
    answer_store_outage(blueprint)

    @blueprint.post("/v1/device/code")
    async def code() -> Response:
        gate.limits.take("device_code", client_ip())
        fields = await _fields(empty_ok=True)
        try:
            started = await device.start(
                client_label=printable(fields.get("client_label")),
                chip=printable(fields.get("chip")),
                region=printable(services.region_of(client_ip())),
            )
        except Conflict as error:
            raise ApiError(503, "service_unavailable", str(error), retry_after_seconds=1) from None
        uri = f"{(services.console_url or request_origin()).rstrip('/')}/link"
        return private_answer(
            {
                "device_code": started.device_code,
                "user_code": started.user_code,
                "verification_uri": uri,
                "verification_uri_complete": f"{uri}?code={started.user_code}",
                "expires_in": LIVES_SECONDS,
                "interval": INTERVAL_SECONDS,
            }
        )

    @blueprint.post("/v1/device/token")
    async def token() -> Response:
        if _is_form():
            return await _rfc_poll(services)
        gate.limits.take("device_token", client_ip())
        device_code = text_member(await read_object("invalid_request"), "device_code", "invalid_request")
        found = await device.poll(device_code)
        if isinstance(found, LinkedMachine):
            return private_answer({"status": "authorized", "token": found.token, "account_id": found.account_id})
        if found == "authorization_pending":
            return private_answer({"status": found})
        status, text = _POLL_ERRORS[found]
        raise ApiError(status, found, text, retry_after_seconds=INTERVAL_SECONDS if status == 429 else None)

    @blueprint.get("/v1/device/pending")
    async def pending() -> Response:
        person = await gate.person()
        gate.limits.take_user_code(person.account_id)
        found = await device.pending(request.args.get("user_code", ""))
        if not isinstance(found, PendingLogin):
            raise _refusal(found)
        return private_answer(
            {
                "user_code": found.user_code,
                "client_label": found.client_label,
                "chip": found.chip,
                "region": found.region,
                "created_at": timestamp(found.created_at),
                "expires_at": timestamp(found.expires_at),
            }
        )

    @blueprint.post("/v1/device/approve")
    async def approve() -> Response:
        person, admission = await gate.person_within_limit()
        typed = text_member(await read_object("invalid_request"), "user_code", "invalid_request")
        gate.limits.take_user_code(person.account_id)
        decision = await device.approve(typed, person.account_id)
        if decision != "done":
            raise _refusal(decision)
        return private_answer({"status": "approved", "message": APPROVED}, admission=admission)

    @blueprint.post("/v1/device/deny")
    async def deny() -> Response:
        person, admission = await gate.person_within_limit()
        typed = text_member(await read_object("invalid_request"), "user_code", "invalid_request")
        gate.limits.take_user_code(person.account_id)
        decision = await device.deny(typed)
        if decision != "done":
            raise _refusal(decision)
        return private_answer({"status": "denied"}, admission=admission)

    @blueprint.delete("/v1/device/token")
    async def log_out() -> Response:
        credential = gate.facts().credential()
        if credential.kind != "bearer":
            raise ApiError(401, "authentication_error", "This needs the machine's token as bearer token.")
        if gate.limits.used_up("failed_bearer", client_ip()):
            # Not 429, for the same reason as below.
            text = "Too many unknown tokens came from this network; try again in a minute."
            raise ApiError(503, "service_unavailable", text, retry_after_seconds=60)
        try:
            if not await services.tokens.revoke(credential.token):
                gate.limits.take("failed_bearer", client_ip())
        except StoreUnavailable:
            # Not 503: a machine must not take this for done, and older ones stop at anything below 500 alone.
            raise ApiError(500, "server_error", "The token could not be revoked; try again.") from None
        return empty_answer()

    return blueprint


async def _rfc_poll(services: DeviceServices) -> Response:
    """Answer a poll as RFC 8628 and RFC 6749 section 5 want it."""
    try:
        services.gate.limits.take("device_token", client_ip())
    except RateLimited as error:
        return _rfc_error("slow_down", retry_after=error.headers())
    fields = await _fields(empty_ok=False)
    if fields.get("grant_type") != GRANT:
        return _rfc_error("unsupported_grant_type")
    device_code = fields.get("device_code")
    if not isinstance(device_code, str) or not device_code:
        return _rfc_error("invalid_request")
    found = await services.device.poll(device_code)
    if isinstance(found, LinkedMachine):
        return private_answer({"access_token": found.token, "token_type": "Bearer", "account_id": found.account_id})
    return _rfc_error(found)


def _rfc_error(code: str, *, retry_after: list[tuple[str, str]] | None = None) -> Response:
    return json_answer({"error": code}, status=400, headers={**PRIVATE, **dict(retry_after or ())})


def _is_form() -> bool:
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower() == FORM


async def _fields(*, empty_ok: bool) -> Mapping[str, object]:
    """Read a body that is a form or a JSON object."""
    if not _is_form():
        return await read_object("invalid_request", empty_ok=empty_ok)
    try:
        return dict(parse_qsl((await read_body()).decode(), max_num_fields=MAX_FIELDS))
    except ValueError:
        raise ApiError(400, "invalid_request", "The form cannot be read; send URL-encoded UTF-8.") from None


def _refusal(decision: Decision) -> ApiError:
    status, text = _DECISION_ERRORS[decision]
    return ApiError(status, decision, text, retryable=False if status == 409 else None)
