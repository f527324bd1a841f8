"""What account endpoints do with a request before their own work: who sent it, may he, how often, and its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal, cast

import msgspec
from quart import request
from quart.wrappers import Response

from protocol.api.errors import ApiError, openai_envelope, payload_too_large
from server.accounts.browser import own_origin
from server.accounts.callers import request_facts
from server.accounts.guards import require_user_session
from server.api.json_answer import json_answer
from server.observe import request_notes
from server.store import StoreUnavailable

if TYPE_CHECKING:
    from quart import Blueprint

    from server.accounts.callers import Callers, RequestFacts
    from server.accounts.ports import Identity
    from server.limits import Admission, NetworkLimits, RequestLimiter

MAX_BODY_BYTES: Final = 64 * 1024
STORE_RETRY_SECONDS: Final = 2
PRIVATE: Final = {"Cache-Control": "private, no-store"}
_DECODER: Final = msgspec.json.Decoder(float_hook=Decimal)

BadBody = Literal["bad_request", "invalid_request"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountGate:
    """`origins` are the public origins of the settings, beside the one that a request itself was sent to."""

    callers: Callers
    limiter: RequestLimiter
    limits: NetworkLimits
    origins: frozenset[str] = frozenset()

    def facts(self) -> RequestFacts:
        """Read what names the caller from the current request."""
        return request_facts(
            request.headers, method=request.method, scheme=request.scheme, ip=client_ip(), origins=self.origins
        )

    async def caller(self) -> Identity:
        """Find the caller, and note the account for the request log; raises ApiError, StoreUnavailable."""
        found = await self.callers.identify(self.facts())
        request_notes().account_id = found.account_id
        return found

    async def person(self) -> Identity:
        """Find the signed-in person of a request; raises ApiError for anything else, API keys included."""
        return require_user_session(await self.caller())

    async def person_within_limit(self) -> tuple[Identity, Admission]:
        """Like `person`, for calls that move money or change credentials: their limit counts the call."""
        found = await self.person()
        return found, self.limiter.financial(found)


def client_ip() -> str:
    """Give the address of the client; the listener has already looked behind trusted proxies."""
    return request.remote_addr or ""


def request_origin() -> str:
    """Give the origin that the request was sent to, empty if its host is not one."""
    return own_origin(request.scheme, request.headers.get("Host", ""))


async def read_object(kind: BadBody, *, empty_ok: bool = False) -> Mapping[str, object]:
    """Read the body as a JSON object with exact numbers; raises ApiError 400 of this kind, or 413."""
    body = await read_body()
    if not body.strip() and empty_ok:
        return {}
    try:
        decoded = _DECODER.decode(body)
    except (msgspec.DecodeError, RecursionError, ValueError, ArithmeticError):
        raise ApiError(400, kind, "The body is not JSON; send a JSON object in UTF-8.") from None
    if not isinstance(decoded, dict):
        raise ApiError(400, kind, "The body is not a JSON object; send {...}.")
    return cast("Mapping[str, object]", decoded)


async def read_body() -> bytes:
    """Read a body of at most 64 KiB; raises ApiError 413."""
    body = cast(bytes, await request.get_data(cache=False))
    if len(body) > MAX_BODY_BYTES:
        raise payload_too_large(MAX_BODY_BYTES)
    return body


def text_member(body: Mapping[str, object], member: str, kind: BadBody, *, limit: int = 4096) -> str:
    """Give a member that must be a text of 1 to `limit` characters; raises ApiError 400."""
    value = body.get(member)
    if not isinstance(value, str) or not value.strip() or len(value) > limit:
        raise ApiError(400, kind, f"{member} is needed, as a text of at most {limit} characters.", param=member)
    return value


def private_answer(value: object, *, status: int = 200, admission: Admission | None = None) -> Response:
    """Answer with personal data: never cached; with the headers of the limit that admitted the request."""
    limit_headers = {} if admission is None else dict(admission.headers)
    return json_answer(value, status=status, headers={**PRIVATE, **limit_headers})


def empty_answer(headers: Mapping[str, str] | None = None) -> Response:
    """Answer 204: done, and nothing to tell."""
    # An empty body in bytes: quart reads any other kind in a thread of asyncio, which does not run here.
    response = Response(b"", status=204, headers={**PRIVATE, **(headers or {})})
    for name in ("Content-Type", "Content-Length"):
        # RFC 9110, section 8.6: a 204 has no length.
        response.headers.pop(name, None)
    return response


def answer_store_outage(blueprint: Blueprint) -> None:
    """Answer 503 with `Retry-After` when the database does not, instead of 500."""

    @blueprint.errorhandler(StoreUnavailable)
    async def store_outage(_error: StoreUnavailable) -> Response:
        text = "The database is not available; try again in a few seconds."
        error = ApiError(503, "service_unavailable", text, retry_after_seconds=STORE_RETRY_SECONDS)
        return json_answer(openai_envelope(error), status=503, headers=dict(error.headers()))
