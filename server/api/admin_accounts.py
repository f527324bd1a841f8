"""`/v1/admin/{users,keys,audit}`: administrators find and suspend accounts, and make and revoke their keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from quart import Blueprint, request

from protocol.api.errors import ApiError, invalid_request
from server.accounts.guards import require_admin
from server.accounts.key_settings import parse_changes
from server.accounts.ports import ADMIN_ACCOUNT
from server.accounts.suspension import MAX_REASON
from server.administration import accounts, audit, keys
from server.api.gate import answer_store_outage, private_answer, read_object, text_member
from server.api.json_answer import timestamp
from server.api.row_errors import answer_row_errors
from server.billing.amounts import usd6
from server.store import NotFound

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.accounts.ports import Identity
    from server.administration.accounts import AccountActs, AccountView
    from server.administration.audit import AuditRow
    from server.administration.keys import KeyActs, KeyView
    from server.administration.moves import MoveActs, Moved
    from server.administration.operator import Operator
    from server.api.gate import AccountGate
    from server.store import Tx

DEFAULT_ROWS: Final = 50
MAX_ROWS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminAccountServices:
    """What the endpoints work with."""

    gate: AccountGate
    operator: Operator
    accounts: AccountActs
    moves: MoveActs
    keys: KeyActs


def admin_accounts_blueprint(services: AdminAccountServices) -> Blueprint:
    """Serve accounts and keys to administrators: the admin key, or a signed-in one; never an ordinary API key."""
    blueprint = Blueprint("admin_accounts", __name__)
    gate, operator = services.gate, services.operator
    answer_store_outage(blueprint)
    answer_row_errors(blueprint)

    @blueprint.get("/v1/admin/users")
    async def users() -> Response:
        require_admin(await gate.caller())
        text, limit = _query("q", accounts.MAX_QUERY), listing_limit()
        found = await operator.read(lambda tx: accounts.search(tx, text, limit))
        return private_answer({"users": [user_answer(one) for one in found]})

    @blueprint.get("/v1/admin/users/<who>")
    async def user(who: str) -> Response:
        require_admin(await gate.caller())
        return private_answer(user_answer(await operator.read(lambda tx: _view(tx, clean_name(who)))))

    @blueprint.post("/v1/admin/users/<who>/suspend")
    async def suspend(who: str) -> Response:
        admin = require_admin(await gate.caller())
        reason = text_member(await read_object("bad_request"), "reason", "bad_request", limit=MAX_REASON)
        return private_answer(user_answer(await services.accounts.suspend(actor_of(admin), clean_name(who), reason)))

    @blueprint.post("/v1/admin/users/<who>/resume")
    async def resume(who: str) -> Response:
        admin = require_admin(await gate.caller())
        return private_answer(user_answer(await services.accounts.resume(actor_of(admin), clean_name(who))))

    @blueprint.post("/v1/admin/users/<who>/migrate")
    async def migrate(who: str) -> Response:
        admin = require_admin(await gate.caller())
        admission = gate.limiter.financial(admin)
        target = text_member(await read_object("bad_request"), "to", "bad_request", limit=accounts.MAX_QUERY)
        moved = await services.moves.migrate(actor_of(admin), clean_name(who), clean_name(target))
        return private_answer(moved_answer(moved), admission=admission)

    @blueprint.get("/v1/admin/keys")
    async def list_keys() -> Response:
        require_admin(await gate.caller())
        who, limit = _query("account", accounts.MAX_QUERY), listing_limit()
        revoked = request.args.get("revoked", "") in ("1", "true")

        async def look(tx: Tx) -> list[KeyView]:
            account_id = await accounts.resolve(tx, who) if who else None
            return await keys.listing(tx, account_id, revoked=revoked, limit=limit)

        found = await operator.read(look)
        now = operator.now()
        return private_answer({"object": "list", "data": [key_answer(one, now) for one in found]})

    @blueprint.post("/v1/admin/keys")
    async def create_key() -> Response:
        admin = require_admin(await gate.caller())
        admission = gate.limiter.financial(admin)
        body = await read_object("bad_request")
        who = clean_name(text_member(body, "account_id", "bad_request", limit=accounts.MAX_QUERY))
        made = await services.keys.create(actor_of(admin), who, parse_changes(body, now=operator.now()))
        answer = {"key": made.secret, "id": made.key.id, "account_id": made.key.owner_account_id}
        return private_answer(answer, admission=admission)

    @blueprint.patch("/v1/admin/keys/<key_id>")
    async def switch_key(key_id: str) -> Response:
        admin = require_admin(await gate.caller())
        disabled = (await read_object("bad_request")).get("disabled")
        if not isinstance(disabled, bool):
            raise ApiError(400, "bad_request", "disabled is needed: true or false.", param="disabled")
        changed = await services.keys.set_disabled(actor_of(admin), clean_name(key_id), disabled)
        return private_answer(key_answer(changed, operator.now()))

    @blueprint.delete("/v1/admin/keys/<key_id>")
    async def revoke_key(key_id: str) -> Response:
        admin = require_admin(await gate.caller())
        revoked = await services.keys.revoke(actor_of(admin), clean_name(key_id))
        return private_answer({"status": "revoked", "id": revoked.id, "account_id": revoked.owner_account_id})

    @blueprint.get("/v1/admin/audit")
    async def acts() -> Response:
        require_admin(await gate.caller())
        limit = listing_limit()
        found = await operator.read(lambda tx: audit.newest(tx, limit))
        return private_answer({"acts": [act_answer(one) for one in found]})

    return blueprint


def actor_of(admin: Identity) -> str:
    """Give the name under which the audit knows an administrator: the account, or `admin_key`."""
    return "admin_key" if admin.account_id == ADMIN_ACCOUNT else admin.account_id


def user_answer(user: AccountView) -> dict[str, object]:
    """Describe an account; the amounts are without what running requests hold."""
    balance, withdrawable = user.balance - user.held, user.withdrawable - user.held_withdrawable
    return {
        "account_id": user.account_id,
        "external_id": user.external_id,
        "login": user.login,
        "email": user.email,
        "email_verified": user.verified,
        "role": user.role,
        "is_admin": user.is_admin,
        "fee_percent": user.fee_percent,
        "suspended_at": timestamp(user.suspended_at),
        "suspended_reason": user.suspended_reason,
        "stripe_account_status": user.stripe_status,
        "live_keys": user.live_keys,
        "machine_tokens": user.machine_tokens,
        "balance_micro_usd": balance,
        "balance_usd": usd6(balance),
        "withdrawable_micro_usd": withdrawable,
        "withdrawable_usd": usd6(withdrawable),
        "held_micro_usd": user.held,
        "created_at": timestamp(user.created_at),
    }


def moved_answer(moved: Moved) -> dict[str, object]:
    """Describe what was moved."""
    return {
        "from": moved.source,
        "to": moved.target,
        "amount_micro_usd": moved.amount,
        "withdrawable_micro_usd": moved.withdrawable,
        "key_id": moved.key_id,
    }


def key_answer(key: KeyView, now: int) -> dict[str, object]:
    """Describe a key of any account."""
    return {
        "id": key.id,
        "account_id": key.owner_account_id,
        "name": key.name,
        "label": key.label,
        "state": key.state(now),
        "limit_micro_usd": key.limit_micro_usd,
        "limit_reset": key.limit_reset,
        "expires_at": timestamp(key.expires_at),
        "created_at": timestamp(key.created_at),
        "last_used_at": timestamp(key.last_used_at),
        "revoked_at": timestamp(key.revoked_at),
    }


def act_answer(row: AuditRow) -> dict[str, object]:
    """Describe an act."""
    return {
        "id": row.id,
        "at": timestamp(row.at),
        "actor": row.actor,
        "action": row.action,
        "target": row.target,
        "before": row.before,
        "after": row.after,
        "outcome": row.outcome,
    }


async def _view(tx: Tx, who: str) -> AccountView:
    return await accounts.view(tx, await accounts.resolve(tx, who))


def clean_name(text: str) -> str:
    """Return a name or id of a path or body; raises NotFound for what no row can be called."""
    if "\x00" in text or len(text) > accounts.MAX_QUERY:
        raise NotFound("There is nothing with this name.")
    return text


def _query(name: str, limit: int) -> str:
    value = request.args.get(name, "").strip()
    if len(value) > limit or "\x00" in value:
        raise invalid_request(f"{name} must be a text of at most {limit} characters.", param=name)
    return value


def listing_limit() -> int:
    """Read `limit` of the query; raises ApiError 400."""
    text = request.args.get("limit", str(DEFAULT_ROWS))
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:6]) <= MAX_ROWS:
        raise invalid_request(f"limit must be a whole number from 1 to {MAX_ROWS}.", param="limit")
    return int(text)
