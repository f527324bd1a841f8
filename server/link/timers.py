"""What a provider connection does when the housekeeper's time comes: deadline, ping, staleness sweep, challenge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import native
from server.link import ending
from server.link.liveness import LivenessAction
from server.link.state import SessionState
from server.ports import ChannelError

if TYPE_CHECKING:
    from server.link.session import ProviderSession


def plan(session: ProviderSession) -> None:
    """Have the housekeeper call `tick` when something is due; nothing is, once the session has ended."""
    if session.ended:
        return
    if session.state is SessionState.OPEN:
        session.context.housekeeper.plan(session, min(session.liveness.due, session.register_by))
    elif session.state is SessionState.REGISTERED:
        session.context.housekeeper.plan(session, min(session.liveness.due, session.trust.due))


def tick(session: ProviderSession, now: float) -> None:
    """Do what is due at `now` (trio's clock), and plan the next tick."""
    if session.state is SessionState.OPEN and now >= session.register_by:
        session.count("register_deadline")
        session.close(1008, "no register frame in time")
    for action in session.liveness.tick(now):
        _act(session, action)
    if session.state is SessionState.REGISTERED:
        session.trust.tick(now)
    plan(session)


def _act(session: ProviderSession, action: LivenessAction) -> None:
    if action is LivenessAction.PING:
        try:
            session.writer.submit_control(native.encode_frame(native.OP_PING, b""))
        except ChannelError:
            session.count("control_dropped")
    elif action is LivenessAction.PONG_TIMEOUT:
        session.count("pong_timeout")
        ending.lose(session)
    elif action is LivenessAction.STRIKE:
        session.count("stale_strike")
    else:
        session.count("stale_evicted")
        session.close(1001, "no heartbeat for too long")
