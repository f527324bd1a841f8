"""The provider link: answers WebSocket upgrades on raw streams and runs one session for each."""

from __future__ import annotations

import base64
import logging
import secrets
from typing import TYPE_CHECKING

import trio

import native
from protocol.failure import coordinator_shutdown
from server.link.handshake import Refused, answer_upgrade
from server.link.session import ProviderSession
from server.link.transport import Transport, TransportLost, open_transport

if TYPE_CHECKING:
    from server.link.context import LinkContext
    from server.link.handshake import UpgradeHead

_log = logging.getLogger("darkbloom.link")

_NONCE_BYTES = 32
_ANSWER_SECONDS = 5.0


class ProviderLink:
    """All provider connections of this coordinator.

    `run` must be running while `serve` is called: it owns the timers of all sessions, and the reading of quiet ones.
    """

    def __init__(self, context: LinkContext) -> None:
        """Serve connections with what the context holds."""
        self._context = context
        self._closing: tuple[int, str] | None = None

    def __len__(self) -> int:
        return len(self._context.sessions)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the timers of all sessions and read the quiet ones, until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._context.housekeeper.run)
            await nursery.start(self._context.idle.run)
            task_status.started()

    async def serve(self, stream: trio.abc.Stream, head: UpgradeHead, leftover: bytes, client_ip: str) -> None:
        """Answer an upgrade request and serve the provider until the connection ends; closes the stream.

        `leftover` are the bytes that arrived behind the head. A fault inside the session is logged and ends it alone.
        """
        transport = open_transport(stream)
        nonce = base64.b64encode(secrets.token_bytes(_NONCE_BYTES)).decode()
        answer = answer_upgrade(head, nonce)
        if isinstance(answer, Refused):
            self._context.meter.count("upgrade_refused")
            await _say_and_close(transport, answer.response)
            return
        refusal = self._refusal(client_ip)
        if refusal is not None:
            self._context.meter.count("socket_refused")
            await _say_and_close(transport, answer.response + refusal)
            return
        session = ProviderSession(self._context, transport, client_ip, nonce)
        try:
            await session.run(answer.response, leftover)
        except Exception:
            _log.exception("a provider session failed", extra={"session": session.session_id})

    def close_all(self, code: int = 1001, reason: str = "the coordinator is shutting down") -> None:
        """Close every connection, and every later one at once; their attempts end without blame for the provider."""
        self._closing = (code, reason)
        for session in list(self._context.sessions.values()):
            session.close(code, reason, coordinator_shutdown())

    def token_revoked(self, session_id: str) -> None:
        """Tell a provider that the token which linked it counts no longer; an unknown session is ignored."""
        session = self._context.sessions.get(session_id)
        if session is not None:
            session.token_revoked()

    def _refusal(self, client_ip: str) -> bytes | None:
        """Return the close frame for a socket that may not stay; otherwise count it as unregistered."""
        if self._closing is not None:
            code, reason = self._closing
        elif self._context.sockets.enter(client_ip):
            return None
        else:
            code, reason = 1013, "too many connections without a registration; try again later"
        return native.encode_frame(native.OP_CLOSE, code.to_bytes(2) + reason.encode())


async def _say_and_close(transport: Transport, data: bytes) -> None:
    with trio.move_on_after(_ANSWER_SECONDS):
        try:
            await transport.send_all(data)
        except TransportLost:
            pass
    with trio.move_on_after(_ANSWER_SECONDS, shield=True):
        await transport.aclose()
