"""`/v1/keys…` and the older `/v1/auth/keys`: a signed-in person manages the API keys of the account."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
from quart import Blueprint

from protocol.api.errors import ApiError
from server.accounts.credentials import KEY_ID
from server.accounts.key_desk import KeyRecord, NotYours
from server.accounts.key_settings import parse_changes
from server.api.gate import answer_store_outage, private_answer, read_object, text_member
from server.api.json_answer import refusal, timestamp
from server.api.row_errors import answer_row_errors
from server.billing.amounts import MICRO_PER_USD
from server.store import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from quart.wrappers import Response

    from server.accounts.api_keys import MadeKey
    from server.accounts.key_desk import KeyDesk
    from server.api.gate import AccountGate


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysServices:
    """What the endpoints of key management work with; `wall_clock` gives microseconds."""

    gate: AccountGate
    desk: KeyDesk
    wall_clock: Callable[[], int]


def keys_blueprint(services: KeysServices) -> Blueprint:
    """Serve key management; API keys themselves cannot use it, so that a leaked key does not replicate."""
    blueprint = Blueprint("keys", __name__)
    gate, desk = services.gate, services.desk
    answer_store_outage(blueprint)
    answer_row_errors(blueprint)
    _answer_not_yours(blueprint)

    @blueprint.post("/v1/keys")
    async def create() -> Response:
        person, admission = await gate.person_within_limit()
        body = await read_object("bad_request", empty_ok=True)
        changes = parse_changes(body, now=services.wall_clock())
        made = await desk.create(person.account_id, changes)
        return private_answer(_made(made), admission=admission)

    @blueprint.get("/v1/keys")
    async def list_keys() -> Response:
        person = await gate.person()
        records = await desk.list_live(person.account_id)
        return private_answer({"object": "list", "data": [key_record(record) for record in records]})

    @blueprint.get("/v1/keys/<key_id>")
    async def get(key_id: str) -> Response:
        person = await gate.person()
        return private_answer(key_record(await desk.get(person.account_id, _checked_id(key_id))))

    @blueprint.patch("/v1/keys/<key_id>")
    async def change(key_id: str) -> Response:
        person, admission = await gate.person_within_limit()
        body = await read_object("bad_request")
        changes = parse_changes(body, now=services.wall_clock())
        record = await desk.change(person.account_id, _checked_id(key_id), changes)
        return private_answer(key_record(record), admission=admission)

    @blueprint.post("/v1/keys/<key_id>/rotate")
    async def rotate(key_id: str) -> Response:
        person, admission = await gate.person_within_limit()
        made = await desk.rotate(person.account_id, _checked_id(key_id))
        return private_answer(_made(made), admission=admission)

    @blueprint.delete("/v1/keys/<key_id>")
    async def revoke(key_id: str) -> Response:
        person, admission = await gate.person_within_limit()
        await desk.revoke(person.account_id, _checked_id(key_id))
        return private_answer({"status": "revoked"}, admission=admission)

    @blueprint.post("/v1/auth/keys")
    async def create_plain() -> Response:
        person, admission = await gate.person_within_limit()
        made = await desk.create_like_the_others(person.account_id)
        return private_answer({"api_key": made.secret, "account_id": person.account_id}, admission=admission)

    @blueprint.delete("/v1/auth/keys")
    async def revoke_shown() -> Response:
        person = await gate.person()
        secret = text_member(await read_object("bad_request"), "key", "bad_request")
        await desk.revoke_secret(person.account_id, secret.strip())
        return private_answer({"status": "revoked"})

    return blueprint


def key_record(record: KeyRecord) -> dict[str, object]:
    """Describe a key as the API shows it; what is not set is left out. The secret is not known to anybody any more."""
    key, settings = record.key, record.key.settings
    shown: dict[str, object] = {
        "id": key.id,
        "name": settings.name,
        "label": key.label,
        "disabled": settings.disabled,
        "limit_usd": usd_number(settings.limit_micro_usd),
        "limit_reset": settings.limit_reset,
        "usage_usd": usd_number(record.spent),
        "remaining_usd": usd_number(record.remaining),
        "rpm_limit": settings.rpm_limit,
        "itpm_limit": settings.itpm_limit,
        "otpm_limit": settings.otpm_limit,
        "allowed_models": list(settings.allowed_models) or None,
        "self_route_only": settings.self_route_only,
        "expires_at": timestamp(settings.expires_at),
        "created_at": timestamp(key.created_at),
        "last_used_at": timestamp(key.last_used_at),
    }
    return {name: value for name, value in shown.items() if value is not None}


def usd_number(micro_usd: int | None) -> msgspec.Raw | None:
    """Write an amount as a JSON number of US dollars, digit for digit."""
    if micro_usd is None:
        return None
    return msgspec.Raw(f"{Decimal(micro_usd) / MICRO_PER_USD:f}".encode())


def _made(made: MadeKey) -> dict[str, object]:
    return {"key": made.secret, "data": key_record(KeyRecord(made.key, 0))}


def _checked_id(key_id: str) -> str:
    if KEY_ID.fullmatch(key_id) is None:
        raise NotFound("There is no such API key; GET /v1/keys lists yours.")
    return key_id


def _answer_not_yours(blueprint: Blueprint) -> None:
    """Answer 403 for a shown key of somebody else."""

    @blueprint.errorhandler(NotYours)
    async def not_yours(_error: NotYours) -> Response:
        return refusal(ApiError(403, "forbidden", "This key belongs to another account; only its owner revokes it."))
