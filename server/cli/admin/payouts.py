"""`admin payouts …`: what waits for a person, and what that person found at Stripe."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from server.administration import payouts as views
from server.administration.payouts import PayoutActs
from server.api.admin_payouts import doubt_answer, review_answer
from server.cli.admin.screen import Answer, Screen, minute, money
from server.cli.admin.session import Desk, json_option, named, run

if TYPE_CHECKING:
    from server.payments.withdrawal_rows import Withdrawal


@click.group()
def payouts() -> None:
    """Review first withdrawals, and end withdrawals whose outcome is in doubt."""


@payouts.command("list")
@click.option("--limit", type=click.IntRange(1, views.MAX_LISTED), default=100, show_default=True)
@json_option
def list_waiting(limit: int, as_json: bool) -> int:
    """List what waits, the oldest first."""

    async def work(desk: Desk) -> Answer:
        reviews, withdrawals = await desk.operator.read(lambda tx: views.waiting(tx, limit))

        def show(screen: Screen) -> None:
            if not reviews and not withdrawals:
                screen.line("Nothing waits.")
            if reviews:
                screen.line("First withdrawals of accounts that one consumer of given credits paid most of:", "bold")
                screen.table(
                    ("account", "earned", "paid by", "of it", "since"),
                    [
                        (one.account_id, money(one.earned_micro_usd), one.payer_account, money(one.payer_micro_usd),
                         minute(one.opened_at))
                        for one in reviews
                    ],
                    right=("earned", "of it"),
                    whole=("account", "paid by"),
                )  # fmt: skip
            if withdrawals:
                screen.line("Withdrawals of which Stripe never told the outcome:", "bold")
                screen.table(
                    ("withdrawal", "account", "amount", "status", "transfer", "since"),
                    [
                        (one.id, one.account_id, money(one.amount_micro_usd), one.status, one.transfer_id,
                         minute(one.created_at))
                        for one in withdrawals
                    ],
                    right=("amount",),
                    whole=("withdrawal", "account", "transfer"),
                )  # fmt: skip

        steps: tuple[str, ...] = ()
        if reviews:
            steps += (f"darkbloom-coordinator admin payouts release {reviews[0].account_id}",)
        if withdrawals:
            steps += ("look the withdrawal id up at Stripe (transfers carry it as metadata)",)
            steps += ("darkbloom-coordinator admin payouts sent|not-sent|paid ID",)
        data = {
            "reviews": [review_answer(one) for one in reviews],
            "withdrawals": [doubt_answer(one) for one in withdrawals],
        }
        return Answer(data=data, show=show, next_steps=steps)

    return run(work, as_json=as_json, reads=True)


@payouts.command()
@click.argument("who")
@json_option
def release(who: str, as_json: bool) -> int:
    """Let the account WHO make its first withdrawal."""

    async def work(desk: Desk) -> Answer:
        review = await PayoutActs(desk.operator).release(desk.actor, who)

        def show(screen: Screen) -> None:
            screen.line(f"The account {review.account_id} may withdraw from now on.")

        return Answer(data=review_answer(review), show=show)

    body = f'{{"account_id": "{named(who)}"}}'
    return run(work, as_json=as_json, over_http=f"POST /v1/admin/payouts/release {body}")


@payouts.command()
@click.argument("withdrawal")
@click.argument("transfer")
@json_option
def sent(withdrawal: str, transfer: str, as_json: bool) -> int:
    """Stripe shows the TRANSFER (tr_…) of a pending WITHDRAWAL: go on from there."""
    body = f'{{"found": "sent", "transfer_id": "{transfer}"}}'
    return _decide(withdrawal, body, lambda acts, actor: acts.sent(actor, withdrawal, transfer), as_json=as_json)


@payouts.command("not-sent")
@click.argument("withdrawal")
@json_option
def not_sent(withdrawal: str, as_json: bool) -> int:
    """Stripe shows no transfer for a pending WITHDRAWAL: give the money back to the account."""
    body = '{"found": "not_sent"}'
    return _decide(withdrawal, body, lambda acts, actor: acts.not_sent(actor, withdrawal), as_json=as_json)


@payouts.command()
@click.argument("withdrawal")
@json_option
def paid(withdrawal: str, as_json: bool) -> int:
    """Stripe shows a transferred WITHDRAWAL as paid to the bank or card."""
    body = '{"found": "paid"}'
    return _decide(withdrawal, body, lambda acts, actor: acts.paid(actor, withdrawal), as_json=as_json)


def _decide(
    withdrawal: str, body: str, act: Callable[[PayoutActs, str], Awaitable[Withdrawal]], *, as_json: bool
) -> int:
    async def work(desk: Desk) -> Answer:
        row = await act(PayoutActs(desk.operator), desk.actor)

        def show(screen: Screen) -> None:
            screen.line(f"The withdrawal {row.id} of {money(row.amount_micro_usd)} is {row.status}.")

        return Answer(data=doubt_answer(row), show=show)

    return run(work, as_json=as_json, over_http=f"POST /v1/admin/payouts/{withdrawal}/decide {body}")
