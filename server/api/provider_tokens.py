"""`/v1/me/provider-tokens`: a person sees which machines are linked to the account, and unlinks them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from quart import Blueprint

from protocol.api.errors import ApiError
from server.api.gate import answer_store_outage, private_answer
from server.api.json_answer import timestamp

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.accounts.provider_tokens import ProviderToken, ProviderTokens
    from server.api.gate import AccountGate

_ID: Final = re.compile(r"[0-9a-f]{16}", re.ASCII)


def provider_tokens_blueprint(gate: AccountGate, tokens: ProviderTokens) -> Blueprint:
    """Serve the list of tokens and their revocation, which unlinks live connections at once."""
    blueprint = Blueprint("provider_tokens", __name__)
    answer_store_outage(blueprint)

    @blueprint.get("/v1/me/provider-tokens")
    async def list_tokens() -> Response:
        person = await gate.person()
        listed = await tokens.list(person.account_id)
        return private_answer({"object": "list", "data": [_shown(token) for token in listed]})

    @blueprint.delete("/v1/me/provider-tokens/<token_id>")
    async def revoke(token_id: str) -> Response:
        person, admission = await gate.person_within_limit()
        known = _ID.fullmatch(token_id) is not None
        if not known or not await tokens.revoke_by_id(person.account_id, token_id):
            raise ApiError(404, "not_found", "There is no such token; GET /v1/me/provider-tokens lists yours.")
        return private_answer({"status": "revoked"}, admission=admission)

    return blueprint


def _shown(token: ProviderToken) -> dict[str, object]:
    shown: dict[str, object] = {
        "id": token.id,
        "label": token.label,
        "active": token.active,
        "created_at": timestamp(token.created_at),
        "last_used_at": timestamp(token.last_used_at),
        "revoked_at": timestamp(token.revoked_at),
    }
    return {name: value for name, value in shown.items() if value is not None}
