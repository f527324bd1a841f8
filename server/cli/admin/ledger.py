"""`admin ledger …`: audit the books, and read an account's entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from server.administration import accounts as views
from server.administration.entries import MAX_LISTED, LedgerLine, newest_entries
from server.billing.verify import verify as verify_books
from server.cli.admin.screen import Answer, Screen, minute, money, time
from server.cli.admin.session import Desk, json_option, run
from server.cli.loading import EXIT_OK, EXIT_RUN

if TYPE_CHECKING:
    from server.store import Tx


@click.group()
def ledger() -> None:
    """Audit the books, and read entries."""


@ledger.command()
@json_option
def verify(as_json: bool) -> int:
    """Recompute every balance from the entries and compare. Exit: 0 perfect books, 1 differences."""

    async def work(desk: Desk) -> Answer:
        report = await desk.store.statistics(verify_books)

        def show(screen: Screen) -> None:
            screen.facts(
                [
                    ("accounts", report.accounts),
                    ("transactions", report.transactions),
                    ("entries", report.entries),
                    ("open holds", f"{report.open_holds} ({money(report.held)})"),
                ]
            )
            if report.is_sound:
                screen.line("The books are sound: every balance is the sum of its entries.", "green")
                return
            screen.line(f"The books have {len(report.problems)} differences:", "bold red")
            screen.table(
                ("rule", "row", "found", "expected"),
                [(problem.rule, problem.subject, problem.found, problem.expected) for problem in report.problems],
            )

        data = {
            "sound": report.is_sound,
            "accounts": report.accounts,
            "transactions": report.transactions,
            "entries": report.entries,
            "open_holds": report.open_holds,
            "held_micro_usd": report.held,
            "problems": [
                {"rule": one.rule, "subject": one.subject, "found": one.found, "expected": one.expected}
                for one in report.problems
            ],
        }
        steps = () if report.is_sound else ("keep a copy of the database before anything else is changed",)
        return Answer(data=data, show=show, next_steps=steps, exit_code=EXIT_OK if report.is_sound else EXIT_RUN)

    return run(work, as_json=as_json, reads=True)


@ledger.command()
@click.argument("who")
@click.option("--limit", type=click.IntRange(1, MAX_LISTED), default=50, show_default=True)
@json_option
def show(who: str, limit: int, as_json: bool) -> int:
    """Show the newest entries of WHO, or of a counter-account such as `platform` or `sys:grants`."""

    async def look(tx: Tx) -> tuple[str, list[LedgerLine]]:
        account_id = await views.resolve_holder(tx, who)
        return account_id, await newest_entries(tx, account_id, limit)

    async def work(desk: Desk) -> Answer:
        account_id, entries = await desk.operator.read(look)

        def show(screen: Screen) -> None:
            if entries:
                entry_table(screen, entries)
            else:
                screen.line(f"The account {account_id} has no entries.")

        return Answer(data={"account_id": account_id, "entries": [entry_data(entry) for entry in entries]}, show=show)

    return run(work, as_json=as_json, reads=True)


def entry_data(entry: LedgerLine) -> dict[str, object]:
    """Describe an entry as JSON."""
    return {
        "id": entry.id,
        "txn_id": entry.txn_id,
        "kind": entry.kind,
        "type": entry.entry_type,
        "amount_micro_usd": entry.amount,
        "withdrawable_delta_micro_usd": entry.withdrawable_delta,
        "balance_after_micro_usd": entry.balance_after,
        "reference": entry.reference,
        "created_at": time(entry.created_at),
    }


def entry_table(screen: Screen, entries: Sequence[LedgerLine]) -> None:
    """Print entries."""
    screen.table(
        ("when (UTC)", "type", "amount", "earned", "balance", "reference"),
        [
            (
                minute(entry.created_at),
                entry.entry_type,
                money(entry.amount),
                money(entry.withdrawable_delta) if entry.withdrawable_delta else None,
                money(entry.balance_after),
                entry.reference,
            )
            for entry in entries
        ],
        right=("amount", "earned", "balance"),
        whole=("when (UTC)", "type", "amount", "earned", "balance"),
    )
