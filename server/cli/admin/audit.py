"""`admin audit`: what operators did."""

from __future__ import annotations

import json

import click

from server.administration import audit
from server.administration.audit import AuditRow
from server.cli.admin.screen import Answer, Screen, minute, time
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
            # One line an act: what became of what is often longer than a column.
            for row in found:
                screen.line(f"{minute(row.at)}  {row.actor}  {row.action}  {row.target}  {_change(row)}".rstrip())

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


def _change(row: AuditRow) -> str:
    """Tell what became of what; what stayed the same only names the row."""
    told = []
    for name, after in row.after.items():
        before = row.before.get(name)
        if name not in row.before:
            told.append(f"{name} {_value(after)}")
        elif before != after:
            told.append(f"{name} {_value(before)} → {_value(after)}")
    told += [f"{name} was {_value(before)}" for name, before in row.before.items() if name not in row.after]
    return ", ".join(told)


def _value(value: object) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
