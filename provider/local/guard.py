"""Who may ask the local server: the right host name, the right token, and no page of another origin without one."""

from protocol.api.errors import ApiError
from provider.local.http_server import Request
from provider.local.options import LocalOptions, is_allowed_host, is_own_origin
from provider.local.token import is_same_token

OPEN_PATHS = frozenset({"/", "/health", "/v1/health"})
"""Paths that say nothing but whether the server lives."""


def check_request(request: Request, options: LocalOptions) -> None:
    """Raise `ApiError` for what is not let in. Source: provider rules, local server."""
    if not is_allowed_host(request.headers.get("host", ""), options):
        raise ApiError(
            403,
            "host_not_allowed",
            "This server is asked under a name that it does not know; use http://127.0.0.1, or name the host in "
            "DARKBLOOM_LOCAL_HOSTS.",
        )
    if request.path in OPEN_PATHS:
        return
    if options.token is None:
        origin = request.headers.get("origin", "")
        if origin and not is_own_origin(origin):
            raise ApiError(403, "origin_not_allowed", "Without a token, pages of other origins are not served.")
        return
    if not is_same_token(_given(request), options.token):
        raise ApiError(
            401,
            "invalid_api_key",
            "The token is missing or wrong; send `Authorization: Bearer TOKEN`. `darkbloom local info` shows it.",
            code="invalid_api_key",
        )


def _given(request: Request) -> str:
    scheme, _space, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
