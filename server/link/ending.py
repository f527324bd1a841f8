"""How a provider connection ends: one teardown path, whoever starts it, and the ways that lead there.

Invariant: teardown runs once: keys are wiped, the registry forgets the session, then each pending attempt hears its
end, then the socket closes. Whoever waits for a frame hears of it too, however the connection ends.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

import native
from protocol.failure import provider_disconnected, provider_gone
from server.link.state import SessionState

if TYPE_CHECKING:
    from protocol.failure import AttemptFailure
    from server.link.session import ProviderSession

_log = logging.getLogger("darkbloom.link")

_MAX_CLOSE_REASON_BYTES = 123
_NO_STATUS_CODE = 1005
_HIGH_MEMORY_PRESSURE = 0.9
_GONE = "The connection to the provider is gone; try another one."
_ENDED = (SessionState.CLOSING, SessionState.GONE)


def close(session: ProviderSession, code: int, reason: str, failure: AttemptFailure | None) -> None:
    """Close in order: attempts end with `failure`, then a close frame goes out; harmless when repeated.

    The peer has `close_seconds` to answer, then the socket is cut.
    """
    if session.state in _ENDED:
        return
    shutdown = failure is not None and failure.reason == "coordinator_shutdown"
    end(session, failure or provider_disconnected(), "coordinator_restart" if shutdown else "disconnect")
    _say_goodbye(session, code.to_bytes(2) + reason.encode()[:_MAX_CLOSE_REASON_BYTES])


def peer_closed(session: ProviderSession, code: int) -> None:
    """Answer the peer's close frame; 1005 stands for one without a code."""
    if session.state in _ENDED:
        return
    end(session, provider_gone(code), f"ws_close_{code}")
    _say_goodbye(session, b"" if code == _NO_STATUS_CODE else code.to_bytes(2))


def lose(session: ProviderSession) -> None:
    """End without a close frame: the peer is gone, or is taken for gone."""
    exhausted = session.memory_pressure >= _HIGH_MEMORY_PRESSURE and len(session.attempts) > 0
    end(session, provider_disconnected(), "oom_suspected" if exhausted else "read_error")
    session.state = SessionState.GONE
    session.writer.stop(_GONE)
    session.transport.abort()
    session.scope.cancel()


def close_if_doomed(session: ProviderSession) -> None:
    """Close a session that broke the encryption rules, once its last attempt has ended."""
    if session.doomed and not session.attempts:
        session.close(1008, "a response chunk broke the encryption rules")


def end(session: ProviderSession, failure: AttemptFailure, reason: str) -> None:
    """Run the one teardown path; the first call counts."""
    if session.ended:
        return
    session.ended = True
    context = session.context
    registered = session.state is SessionState.REGISTERED
    context.housekeeper.forget(session)
    context.sessions.pop(session.session_id, None)
    context.on_left(session.session_id)
    if registered:
        session.trust.leave()
    else:
        context.sockets.leave(session.client_ip)
    attempts = session.attempts.close()
    if registered:
        context.registry.disconnect(session.session_id, trio.current_time(), graceful=failure.health == "neutral")
    for attempt in attempts:
        try:
            attempt.sink.on_gone(failure)
        except Exception:
            # The other attempts must hear their end whatever happens to this one.
            context.meter.count("sink_error")
            _log.exception("an attempt failed while its connection ended")
    _log.info("provider_session_ended", extra={"session": session.session_id, "reason": reason})


async def release(session: ProviderSession) -> None:
    """Give back what the connection held, after its nursery ended; the last step of every end."""
    session.state = SessionState.GONE
    # The nursery may have ended in the middle of a write: whoever waits for a frame must hear of it.
    session.writer.stop(_GONE)
    session.pump.close()
    with trio.move_on_after(session.context.settings.close_seconds, shield=True):
        if session.writer.cut:
            session.transport.abort()
        await session.transport.aclose()


def _say_goodbye(session: ProviderSession, payload: bytes) -> None:
    session.state = SessionState.CLOSING
    session.writer.close(native.encode_frame(native.OP_CLOSE, payload))
    deadline = trio.current_time() + session.context.settings.close_seconds
    session.scope.deadline = min(session.scope.deadline, deadline)
