"""What an account spent: `/v1/payments/usage`, and all of it as a file, `/v1/payments/usage/export`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from quart import Blueprint, request
from quart.wrappers import Response

from server.api.gate import answer_store_outage, private_answer
from server.api.json_answer import timestamp
from server.billing.amounts import usd6
from server.billing.reads import usage
from server.rewards.exports import download_headers
from server.rewards.report_query import row_before, row_limit, short_text, span, table_format
from server.rewards.report_rows import Cursor, UsageLine, usage_page

if TYPE_CHECKING:
    from server.answer import StreamingAnswer
    from server.api.deposits import PaymentGate
    from server.billing.reads import UsageRow
    from server.rewards.exports import ExportDesk
    from server.rewards.tables import Line
    from server.store import Store

DEFAULT_ROWS: Final = 100
FILENAME: Final = "darkbloom-usage"
COLUMNS: Final = (
    "timestamp",
    "job_id",
    "key_id",
    "model",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cost_micro_usd",
    "cost_usd",
    "own_machine",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageServices:
    """What the endpoints work with; `wall_clock` gives microseconds."""

    gate: PaymentGate
    store: Store
    exports: ExportDesk
    wall_clock: Callable[[], int]


def usage_blueprint(services: UsageServices) -> Blueprint:
    """Serve the usage of the caller's account, always from the store."""
    blueprint = Blueprint("usage_reports", __name__)
    answer_store_outage(blueprint)

    @blueprint.get("/v1/payments/usage")
    async def newest() -> Response:
        caller = await services.gate.caller()
        limit, before = row_limit(request.args, DEFAULT_ROWS), row_before(request.args)
        key_id = short_text(request.args, "key_id")
        rows = await services.store.read(
            lambda tx: usage(tx, caller.account_id, limit=limit, before=before, key_id=key_id)
        )
        answer: dict[str, object] = {"usage": [_shown(row) for row in rows]}
        if len(rows) == limit:
            answer["next_before"] = rows[-1].row_id
        return private_answer(answer)

    @blueprint.route("/v1/payments/usage/export", methods=["GET"])
    async def export() -> Response | StreamingAnswer:
        caller = await services.gate.caller()
        period, form = span(request.args, services.wall_clock()), table_format(request.args)
        key_id = short_text(request.args, "key_id")
        if request.method == "HEAD":
            return Response(b"", headers=download_headers(form, FILENAME))

        async def page(after: Cursor) -> list[UsageLine]:
            return await services.store.statistics(
                lambda tx: usage_page(tx, caller.account_id, after, since=period.since, key_id=key_id)
            )

        return await services.exports.stream(page, _exported, COLUMNS, form=form, filename=FILENAME, start=period.start)

    return blueprint


def _shown(row: UsageRow) -> dict[str, object]:
    return {
        "job_id": row.job_id or row.request_id,
        "model": row.model,
        "prompt_tokens": row.prompt_tokens,
        "cached_tokens": row.cached_tokens,
        "completion_tokens": row.completion_tokens,
        "cost_micro_usd": row.cost,
        "key_id": row.key_id,
        "timestamp": timestamp(row.created_at),
    }


def _exported(line: UsageLine) -> Line:
    return {
        "timestamp": timestamp(line.created_at),
        "job_id": line.job_id,
        "key_id": line.key_id,
        "model": line.model,
        "prompt_tokens": line.prompt_tokens,
        "cached_tokens": line.cached_tokens,
        "completion_tokens": line.completion_tokens,
        "reasoning_tokens": line.reasoning_tokens,
        "cost_micro_usd": line.cost,
        "cost_usd": usd6(line.cost),
        "own_machine": line.private,
    }
