"""What a `register` frame does: key, attestation, account, rate, registry, then the messages that follow, in order."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from protocol.sealing import parse_public_key
from server.trust import SessionTrust

if TYPE_CHECKING:
    from protocol.messages.from_provider import Register
    from server.link.session import ProviderSession

_log = logging.getLogger("darkbloom.link")


async def register(session: ProviderSession, message: Register) -> None:
    """Judge a registration and enter the session; no later frame of the connection is looked at meanwhile."""
    context = session.context
    public_key = _checked_key(message.public_key)
    trust = SessionTrust(context.desk, session, message, public_key, session.registration_nonce, trio.current_time())
    account = await _account(session, message.auth_token)
    if session.ended:
        # The link may have been noted after the session had left.
        context.on_left(session.session_id)
        return
    now = trio.current_time()
    stable_id = trust.device_id or (f"acct:{account}" if account else None)
    if not _within_rate(session, trust.device_id, stable_id, now):
        too_many(session)
        return
    session.registered(trust, public_key, message.public_key if public_key else "", now)
    context.registry.register(
        session_id=session.session_id,
        message=message,
        channel=session,
        stable_id=stable_id or session.session_id,
        account_id=account,
        trust=trust.state,
        now=now,
    )
    context.on_registered(session.session_id, public_key, account)
    context.meter.count("registered")
    _log.info("provider_registered", extra={"session": session.session_id, "verdict": trust.verdict})
    trust.begin("linked" if account else "token_refused" if message.auth_token else "")
    for greeting in context.greeting(message):
        session.send(greeting)
    trust.tick(now)
    session.plan()


def too_many(session: ProviderSession) -> None:
    """Close a session whose identity registered too often."""
    session.context.meter.count("registration_rate")
    session.close(1013, "too many registrations; try again in a minute")


def _within_rate(session: ProviderSession, device_id: str | None, stable_id: str | None, now: float) -> bool:
    """Count a registration.

    A blob proves nothing yet: anyone may replay it. So a device is counted together with the client address here, and
    by itself when the first challenge has passed; what strangers send uses up no minute of its own.
    """
    rate = session.context.rate
    address = f"ip:{session.client_ip}"
    if device_id is None:
        return rate.allow(stable_id or address, now)
    return not rate.used_up(device_id, now) and rate.allow(f"{address} {device_id}", now)


async def _account(session: ProviderSession, token: str) -> str | None:
    """Look up the account of a device-link token; an unknown token leaves the provider unlinked."""
    if not token:
        return None
    try:
        account = await session.context.link_account(session.session_id, token)
    except Exception:
        _log.exception("the account of a provider could not be looked up; it must connect again")
        session.close(1013, "accounts are not available; try again")
        return None
    if account is None:
        _log.info("provider_token_invalid", extra={"session": session.session_id})
    return account


def _checked_key(text: str) -> bytes:
    """Return the key's 32 bytes, or nothing when it is absent or unusable: then the provider is never routed to."""
    try:
        return parse_public_key(text) if text else b""
    except ValueError:
        return b""
