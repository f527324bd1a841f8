"""`admin audit`: what operators did."""

from __future__ import annotations

import json

import click

from server.administration import audit
from server.cli.admin.screen import Answer, Screen, time
from server.cli.admin.session import Desk, json_option, run


@click.command("audit")
@click.option("--limit", type=click.IntRange(1, audit.MAX_LISTED), default=50, show_default=True)
@json_option
def audit_log(limit: int, as_json: bool) -> int:
    """Show what operators did.

    Newest first, over HTTP and with these commands.
    """

    async def work(desk: Desk) -> Answer:
        found = await desk.operator.read(lambda tx: audit.newest(tx, limit))

        def show(screen: Screen) -> None:
            if not found:
                screen.line("Nothing was done yet.")
                return
            screen.table(
                ("when", "who", "did", "to", "before", "after"),
                [
                    (
                        time(row.at),
                        row.actor,
                        row.action,
                        row.target,
                        json.dumps(row.before, ensure_ascii=False) if row.before else None,
                        json.dumps(row.after, ensure_ascii=False) if row.after else None,
                    )
                    for row in found
                ],
            )

        data = [
            {
                "id": row.id,
                "at": time(row.at),
                "actor": row.actor,
                "action": row.action,
                "target": row.target,
                "before": row.before,
                "after": row.after,
                "outcome": row.outcome,
            }
            for row in found
        ]
        return Answer(data={"acts": data}, show=show)

    return run(work, as_json=as_json, reads=True)
