"""What machines earned: `/v1/provider/…earnings`, also by machine, by model, and as files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from quart import Blueprint, request
from quart.wrappers import Response

from protocol.api.errors import ApiError, invalid_request
from server.accounts.credentials import PROVIDER_TOKEN_PREFIX
from server.accounts.guards import require_provider
from server.api.gate import answer_store_outage, private_answer
from server.api.json_answer import timestamp
from server.billing.amounts import usd6
from server.billing.ledger import read_balance
from server.billing.reads import earnings, earnings_total, owns_machine
from server.rewards.exports import download_headers
from server.rewards.report_query import row_limit, short_text, span, table_format
from server.rewards.report_rows import Cursor, EarningGroup, EarningLine, Span, earning_groups, earnings_page
from server.rewards.report_totals import machine_total
from server.rewards.tables import table_head, table_lines

if TYPE_CHECKING:
    from server.accounts.ports import MachineTokens
    from server.answer import StreamingAnswer
    from server.api.deposits import PaymentGate
    from server.billing.reads import Earning, EarningsTotal
    from server.rewards.exports import ExportDesk
    from server.rewards.report_rows import GroupBy
    from server.rewards.tables import Line
    from server.store import Store

DEFAULT_ROWS: Final = 50
FILENAME: Final = "darkbloom-earnings"
WALLET_HEADER: Final = "X-Provider-Wallet"
COLUMNS: Final = (
    "timestamp",
    "provider_id",
    "provider_key",
    "job_id",
    "kind",
    "model",
    "amount_micro_usd",
    "amount_usd",
    "prompt_tokens",
    "completion_tokens",
)
_SUMS: Final = (
    "jobs",
    "amount_micro_usd",
    "amount_usd",
    "base_reward_micro_usd",
    "prompt_tokens",
    "completion_tokens",
    "last_at",
)
GROUP_COLUMNS: Final[dict[GroupBy, tuple[str, ...]]] = {
    "device": ("provider_key", "display_name", *_SUMS),
    "model": ("model", *_SUMS),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EarningServices:
    """What the endpoints work with; `wall_clock` gives microseconds."""

    gate: PaymentGate
    store: Store
    tokens: MachineTokens
    exports: ExportDesk
    wall_clock: Callable[[], int]


def earnings_blueprint(services: EarningServices) -> Blueprint:
    """Serve earnings to their owner: any key of the account, and the token of a linked machine for the account's."""
    blueprint = Blueprint("earnings", __name__)
    answer_store_outage(blueprint)
    _serve_lists(blueprint, services)
    _serve_groups(blueprint, services)
    return blueprint


def _serve_lists(blueprint: Blueprint, services: EarningServices) -> None:
    gate, store = services.gate, services.store

    @blueprint.get("/v1/provider/account-earnings")
    async def account_earnings() -> Response:
        account_id = await _earner(services)
        limit = row_limit(request.args, DEFAULT_ROWS)
        rows = await store.read(lambda tx: earnings(tx, account_id=account_id, limit=limit))
        total = await store.read(lambda tx: earnings_total(tx, account_id, "account"))
        balance = await store.read(lambda tx: read_balance(tx, account_id))
        return private_answer(
            {
                "account_id": account_id,
                **_history(rows, total, limit),
                "available_balance_micro_usd": balance.free,
                "available_balance_usd": usd6(balance.free),
                "withdrawable_balance_micro_usd": balance.free_withdrawable,
                "withdrawable_balance_usd": usd6(balance.free_withdrawable),
            }
        )

    @blueprint.get("/v1/provider/node-earnings")
    async def node_earnings() -> Response:
        caller = await gate.caller()
        key, limit = short_text(request.args, "provider_key"), row_limit(request.args, DEFAULT_ROWS)
        if key is None:
            raise invalid_request("provider_key is needed; send ?provider_key=.", param="provider_key")
        if caller.is_admin and caller.credential != "key":
            rows = await store.read(lambda tx: earnings(tx, provider_key=key, limit=limit))
            total = await store.read(lambda tx: earnings_total(tx, key, "provider"))
        elif await store.read(lambda tx: owns_machine(tx, caller.account_id, key)):
            rows = await store.read(
                lambda tx: earnings(tx, account_id=caller.account_id, provider_key=key, limit=limit)
            )
            total = await store.statistics(lambda tx: machine_total(tx, caller.account_id, key))
        else:
            raise ApiError(403, "forbidden", "Only the owner of a machine sees what it earned.")
        return private_answer({"provider_key": key, **_history(rows, total, limit)})

    @blueprint.get("/v1/provider/earnings")
    async def wallet_earnings() -> Response:
        if not (request.args.get("wallet", "").strip() or request.headers.get(WALLET_HEADER, "").strip()):
            raise invalid_request("A wallet is needed; GET /v1/provider/account-earnings needs none.", param="wallet")
        return private_answer(
            {
                "balance_micro_usd": 0,
                "balance_usd": usd6(0),
                "total_earned_micro_usd": 0,
                "total_earned_usd": usd6(0),
                "total_jobs": 0,
                "payouts": [],
                "ledger": [],
            }
        )

    @blueprint.route("/v1/provider/account-earnings/export", methods=["GET"])
    async def export() -> Response | StreamingAnswer:
        account_id = await _earner(services)
        period, form = span(request.args, services.wall_clock()), table_format(request.args)
        key = short_text(request.args, "provider_key")
        if request.method == "HEAD":
            return Response(b"", headers=download_headers(form, FILENAME))

        async def page(after: Cursor) -> list[EarningLine]:
            return await store.statistics(
                lambda tx: earnings_page(tx, account_id, after, since=period.since, provider_key=key)
            )

        return await services.exports.stream(page, _exported, COLUMNS, form=form, filename=FILENAME, start=period.start)


def _serve_groups(blueprint: Blueprint, services: EarningServices) -> None:
    @blueprint.get("/v1/provider/earnings/by-device")
    async def by_device() -> Response:
        return await _groups(services, "device")

    @blueprint.get("/v1/provider/earnings/by-model")
    async def by_model() -> Response:
        return await _groups(services, "model")


async def _groups(services: EarningServices, by: GroupBy) -> Response:
    account_id = await _earner(services)
    period = span(request.args, services.wall_clock())
    as_file = request.args.get("format", "json") != "json"
    form = table_format(request.args) if as_file else "csv"
    groups = await services.store.statistics(lambda tx: earning_groups(tx, account_id, by, period))
    lines = [_group(group, by) for group in groups]
    if not as_file:
        return private_answer({"object": "list", "data": lines, **_bounds(period)})
    columns = GROUP_COLUMNS[by]
    body = table_head(columns, form) + table_lines(lines, columns, form)
    answer = private_answer(None)
    answer.set_data(body)
    answer.headers.update(download_headers(form, f"{FILENAME}-by-{by}"))
    return answer


async def _earner(services: EarningServices) -> str:
    """Find whose earnings are asked for; raises ApiError 401."""
    scheme, _, rest = request.headers.get("Authorization", "").strip().partition(" ")
    token = rest.strip()
    if scheme.lower() != "bearer" or not token.startswith(PROVIDER_TOKEN_PREFIX):
        return (await services.gate.caller()).account_id
    return await require_provider(token, services.tokens)


def _history(rows: list[Earning], total: EarningsTotal, limit: int) -> dict[str, object]:
    return {
        "earnings": [_shown(row) for row in rows],
        "total_micro_usd": total.amount,
        "total_usd": usd6(total.amount),
        "count": total.count,
        "recent_count": len(rows),
        "history_limit": limit,
    }


def _shown(row: Earning) -> dict[str, object]:
    return {
        "id": row.row_id,
        "account_id": row.account_id,
        "provider_id": row.provider_id,
        "provider_key": row.provider_key,
        "job_id": row.job_id,
        "model": row.model,
        "amount_micro_usd": row.amount,
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
        "created_at": timestamp(row.created_at),
    }


def _exported(line: EarningLine) -> Line:
    return {
        "timestamp": timestamp(line.created_at),
        "provider_id": line.provider_id,
        "provider_key": line.provider_key,
        "job_id": line.job_id,
        "kind": line.kind,
        "model": line.model,
        "amount_micro_usd": line.amount,
        "amount_usd": usd6(line.amount),
        "prompt_tokens": line.prompt_tokens,
        "completion_tokens": line.completion_tokens,
    }


def _group(group: EarningGroup, by: GroupBy) -> Line:
    named: dict[str, int | str | None] = {"model": group.name}
    if by == "device":
        named = {"provider_key": group.name, "display_name": group.display_name}
    return {
        **named,
        "jobs": group.jobs,
        "amount_micro_usd": group.amount,
        "amount_usd": usd6(group.amount),
        "base_reward_micro_usd": group.base_rewards,
        "prompt_tokens": group.prompt_tokens,
        "completion_tokens": group.completion_tokens,
        "last_at": timestamp(group.last_at),
    }


def _bounds(period: Span) -> dict[str, object]:
    return {"since": timestamp(period.since) if period.since else None, "until": timestamp(period.until)}
