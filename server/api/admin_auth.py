"""`/v1/admin/auth/…`: an administrator signs in without a browser, with a one-time code by e-mail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quart import Blueprint

from protocol.api.errors import ApiError
from server.accounts.privy_failures import CodeRefused, PrivyUnavailable
from server.accounts.users import looks_like_email, normal_email
from server.api.gate import answer_store_outage, client_ip, private_answer, read_object, text_member

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.accounts.admin_codes import AdminCodes
    from server.api.gate import AccountGate

MAX_EMAIL: Final = 320
MAX_CODE: Final = 64


def admin_auth_blueprint(gate: AccountGate, codes: AdminCodes | None) -> Blueprint:
    """Serve the two steps; without an identity provider that sends codes, both answer 503 `not_configured`."""
    blueprint = Blueprint("admin_auth", __name__)
    answer_store_outage(blueprint)

    @blueprint.post("/v1/admin/auth/init")
    async def init() -> Response:
        gate.limits.take("admin_auth", client_ip())
        configured = _configured(codes)
        email = _email(text_member(await read_object("bad_request"), "email", "bad_request", limit=MAX_EMAIL))
        if not configured.request(email):
            raise ApiError(500, "otp_error", "The code could not be sent; try again in a minute.")
        return private_answer({"status": "otp_sent", "email": email})

    @blueprint.post("/v1/admin/auth/verify")
    async def verify() -> Response:
        gate.limits.take("admin_auth", client_ip())
        configured = _configured(codes)
        body = await read_object("bad_request")
        email = _email(text_member(body, "email", "bad_request", limit=MAX_EMAIL))
        code = text_member(body, "code", "bad_request", limit=MAX_CODE)
        gate.limits.take_sign_in(f"one-time code {normal_email(email)}", client_ip())
        try:
            token = await configured.sign_in(email, code.strip())
        except CodeRefused:
            raise ApiError(401, "auth_error", "The address or the code is wrong, or the code has expired.") from None
        except PrivyUnavailable:
            raise ApiError(500, "otp_error", "The code could not be checked; try again in a minute.") from None
        return private_answer({"token": token, "email": email})

    return blueprint


def _configured(codes: AdminCodes | None) -> AdminCodes:
    if codes is None:
        text = "One-time codes are not set up here; use an admin key."
        raise ApiError(503, "not_configured", text, retryable=False)
    return codes


def _email(text: str) -> str:
    email = text.strip()
    if not looks_like_email(email):
        raise ApiError(400, "bad_request", "email must be an e-mail address.", param="email")
    return email
