"""The access line of each request, written when its answer ended, and its count."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from server.observe import mask_ip
from server.observe.context import UNMATCHED

if TYPE_CHECKING:
    from server.observe import Metrics, RequestNotes
    from server.serve.asgi_types import Scope

_log = logging.getLogger("darkbloom.access")

# The consumer left before it got an answer; never sent, only logged and counted.
CLIENT_GONE: Final = 499
# Every answer has its id, also under the name that Anthropic's SDK reads.
ID_HEADERS: Final = (b"x-request-id", b"request-id")
# Shown at debug level only: they come every few seconds and tell nothing.
QUIET_ROUTES: Final = frozenset({"/health", "/readyz", "/metrics"})


class AccessLog:
    """Writes the line of a request whose answer ended, and counts it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def write(self, scope: Scope, notes: RequestNotes, status: int, seconds: float) -> None:
        """Log and count one request; `seconds` is how long its answer took as a whole."""
        method = scope["method"]
        self._metrics.http_requests.inc(method, notes.route, str(status))
        self._metrics.http_request_seconds.observe(method, notes.route, amount=seconds)
        level = logging.DEBUG if notes.route in QUIET_ROUTES and status < 400 else logging.INFO
        if _log.isEnabledFor(level):
            fields = {
                "method": method,
                # What no endpoint knows may be anything, a key pasted into the address bar too.
                "path": scope["path"][:256] if notes.route != UNMATCHED else UNMATCHED,
                "route": notes.route,
                "status": status,
                "duration_ms": round(seconds * 1000, 3),
                "remote": mask_ip((scope.get("client") or ("",))[0]),
            }
            if notes.account_id is not None:
                fields["account"] = notes.account_id
            _log.log(level, "request", extra=fields)
