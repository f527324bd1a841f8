"""`admin credit` and `admin reward`: money from the platform to an account."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from server.administration import accounts as views
from server.administration.operator import AuditedStore
from server.billing.amounts import AmountError, parse_usd
from server.cli.admin.screen import Answer, Screen, money
from server.cli.admin.session import Desk, json_option, named, run
from server.rewards.grants import MAX_KEY, MAX_NOTE, Granted, GrantKind, Grants, Person

if TYPE_CHECKING:
    from server.administration.audit import Facts

_reason = click.option("--reason", required=True, help="Why; it stands in the ledger and in the audit.")
_key = click.option(
    "--idempotency-key", default="", help="The same key for the same account pays once, however often it is sent."
)


@click.command()
@click.argument("who")
@click.argument("usd")
@_reason
@_key
@json_option
def credit(who: str, usd: str, reason: str, idempotency_key: str, as_json: bool) -> int:
    """Give an account credits to spend.

    WHO can spend them; they are never paid out. USD is an amount such as 5.00.
    """
    return _grant("admin_credit", who, usd, reason, idempotency_key, as_json=as_json)


@click.command()
@click.argument("who")
@click.argument("usd")
@_reason
@_key
@json_option
def reward(who: str, usd: str, reason: str, idempotency_key: str, as_json: bool) -> int:
    """Give an account a reward.

    WHO can spend it, and have it paid out like earnings. USD is an amount such as 5.00.
    """
    return _grant("admin_reward", who, usd, reason, idempotency_key, as_json=as_json)


def _grant(kind: GrantKind, who: str, usd: str, reason: str, key: str, *, as_json: bool) -> int:
    amount = amount_of(usd)
    note = reason.strip()
    if not note or len(note) > MAX_NOTE or not note.isprintable():
        raise click.UsageError(f"--reason must be 1 to {MAX_NOTE} printable characters.")
    if len(key) > MAX_KEY or not (key.isascii() and key.isprintable()):
        raise click.UsageError(f"--idempotency-key must be at most {MAX_KEY} printable ASCII characters.")

    async def work(desk: Desk) -> Answer:
        account_id = await desk.operator.read(lambda tx: views.resolve(tx, who))
        granted = await _grants(desk, kind, note).grant(
            Person(account_id=account_id), kind=kind, amount=amount, note=note, idempotency_key=key
        )

        def show(screen: Screen) -> None:
            if not granted.fresh:
                screen.line("This idempotency key has paid before; nothing was paid again.", "yellow")
            else:
                what = "credits" if kind == "admin_credit" else "a reward"
                screen.line(f"Gave {who} {what} of {money(amount)}.")
            screen.line(
                f"The balance is {money(granted.balance)}, of which {money(granted.withdrawable)} withdrawable."
            )

        data = {
            "account_id": account_id,
            "kind": kind,
            "amount_micro_usd": amount,
            "fresh": granted.fresh,
            "balance_micro_usd": granted.balance,
            "withdrawable_micro_usd": granted.withdrawable,
        }
        return Answer(data=data, show=show, next_steps=(f"darkbloom-coordinator admin ledger show {who}",))

    path = kind.removeprefix("admin_")
    body = f'{{"account_id": "{named(who)}", "amount_usd": "{usd}", "note": "…"}}'
    return run(work, as_json=as_json, over_http=f"POST /v1/admin/{path} {body}")


def amount_of(usd: str) -> int:
    """Read a positive amount of US dollars as micro-USD; raises click.UsageError."""
    try:
        amount = parse_usd(usd)
    except AmountError as error:
        raise click.UsageError(str(error)) from None
    if amount == 0:
        raise click.UsageError("The amount must be positive.")
    return amount


def _grants(desk: Desk, kind: GrantKind, reason: str) -> Grants:
    def describe(result: object) -> tuple[str, Facts] | None:
        assert isinstance(result, Granted)
        if not result.fresh:
            return None
        return result.user.account_id, {"amount_micro_usd": result.amount, "reason": reason}

    store = AuditedStore(
        desk.store,
        actor=desk.actor,
        action=kind.removeprefix("admin_"),
        describe=describe,
        wall_clock=desk.wall_clock,
    )
    return Grants(store, wall_clock=desk.wall_clock)
