"""`/auth/…`: browser sessions. Sign in with a password, an API key or a Privy token; the answer is a cookie.

Every unsafe request here must come from our own page, signed in or not, so that no other site can sign a browser in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from quart import Blueprint

from protocol.api.errors import ApiError
from server.accounts.ports import Identity
from server.accounts.web_sessions import IDLE
from server.api.gate import answer_store_outage, empty_answer, private_answer, read_object
from server.api.json_answer import timestamp
from server.api.sign_in import SignInDesk, signed_out

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.accounts.bearer import BearerDirectory
    from server.accounts.local_login import LocalLogin
    from server.accounts.web_sessions import WebSession, WebSessions
    from server.api.gate import AccountGate

KEY_SCOPES: Final = ("inference", "balance", "usage")
ACCOUNT_SCOPES: Final = ("account", *KEY_SCOPES)
_SESSION_ID: Final = re.compile(r"[0-9a-f]{16}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionServices:
    """`local` is None where passwords do not sign in."""

    gate: AccountGate
    sessions: WebSessions
    bearer: BearerDirectory
    local: LocalLogin | None


def auth_sessions_blueprint(services: SessionServices) -> Blueprint:
    """Serve sign-in, sign-up, sign-out, the list of sessions, and the change of a password."""
    blueprint = Blueprint("auth_sessions", __name__)
    gate, sessions = services.gate, services.sessions
    desk = SignInDesk(gate, services.sessions, services.bearer, services.local)
    answer_store_outage(blueprint)

    @blueprint.post("/auth/session")
    async def sign_in() -> Response:
        gate.facts().browser.check_csrf()
        body = await read_object("bad_request")
        match body.get("mode"):
            case "local":
                return await desk.with_password(body)
            case "key":
                return await desk.with_key(body)
            case "privy":
                return await desk.with_privy(body)
            case _:
                raise ApiError(400, "bad_request", "mode must be local, key or privy.", param="mode")

    @blueprint.get("/auth/session")
    async def show() -> Response:
        session = await gate.callers.session_of(gate.facts())
        identity = None if session is None else await gate.callers.identity_of(session)
        if session is None or not isinstance(identity, Identity):
            return private_answer({"authenticated": False})
        return private_answer(
            {
                "authenticated": True,
                "account_id": identity.account_id,
                "display": await desk.display(session, identity),
                "mode": session.mode,
                "admin": identity.is_admin,
                "scopes": KEY_SCOPES if session.mode == "key" else ACCOUNT_SCOPES,
                "expires_at": timestamp(min(session.expires_at, session.last_seen + IDLE)),
            }
        )

    @blueprint.delete("/auth/session")
    async def sign_out() -> Response:
        facts = gate.facts()
        facts.browser.check_csrf()
        session = await gate.callers.session_of(facts)
        if session is not None:
            await sessions.end(session.token_hash)
        return signed_out()

    @blueprint.get("/auth/sessions")
    async def list_sessions() -> Response:
        person = await gate.person()
        listed = await sessions.list(person.account_id)
        return private_answer({"object": "list", "data": [_shown(one, person) for one in listed]})

    @blueprint.delete("/auth/sessions/<session_id>")
    async def end_session(session_id: str) -> Response:
        person = await gate.person()
        known = _SESSION_ID.fullmatch(session_id) is not None
        if not known or not await sessions.end_by_id(person.account_id, session_id):
            raise ApiError(404, "not_found", "There is no such session; GET /auth/sessions lists yours.")
        return empty_answer()

    @blueprint.post("/auth/signup")
    async def sign_up() -> Response:
        gate.facts().browser.check_csrf()
        return await desk.sign_up(await read_object("bad_request"))

    @blueprint.post("/auth/password")
    async def change_password() -> Response:
        person = await gate.person()
        return await desk.change_password(person, await read_object("bad_request"))

    return blueprint


def _shown(session: WebSession, person: Identity) -> dict[str, object]:
    return {
        "id": session.id,
        "mode": session.mode,
        "label": session.label,
        "current": session.token_hash == person.session_hash,
        "created_at": timestamp(session.created_at),
        "last_seen": timestamp(session.last_seen),
    }
