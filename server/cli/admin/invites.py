"""`admin invites …`: codes that give credits to whoever redeems them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, cast

import click

from server.administration.operator import AuditedStore
from server.cli.admin.grants import amount_of
from server.cli.admin.screen import Answer, Screen, minute, money, time
from server.cli.admin.session import Desk, Refusal, json_option, run, seconds_of
from server.rewards.invites import MAX_USES, Invite, Invites, normal_code

if TYPE_CHECKING:
    from server.administration.audit import Facts

MAX_LIFE_SECONDS: Final = 3650 * 86_400
MICROSECONDS: Final = 1_000_000


@click.group()
def invites() -> None:
    """Make, list and switch off invite codes."""


@invites.command()
@click.argument("usd")
@click.option("--code", help="3 to 64 letters, digits and hyphens; a random one unless given.")
@click.option("--max-uses", type=click.IntRange(1, MAX_USES), default=1, show_default=True)
@click.option("--expires-in", metavar="SPAN", help="Such as 30d; never unless given.")
@json_option
def create(usd: str, code: str | None, max_uses: int, expires_in: str | None, as_json: bool) -> int:
    """Make a code that gives credits worth USD to each account that redeems it, once."""
    amount = amount_of(usd)
    life = None if expires_in is None else seconds_of("--expires-in", expires_in, MAX_LIFE_SECONDS)

    async def work(desk: Desk) -> Answer:
        def describe(result: object) -> tuple[str, Facts] | None:
            if result is None:
                return None
            row = cast(Mapping[str, object], result)
            return str(row["code"]), {"amount_micro_usd": amount, "max_uses": max_uses}

        expires_at = None if life is None else desk.wall_clock() + life * MICROSECONDS
        made = await Invites(
            AuditedStore(
                desk.store, actor=desk.actor, action="invite.create", describe=describe, wall_clock=desk.wall_clock
            ),
            wall_clock=desk.wall_clock,
        ).create(amount=amount, code=code, max_uses=max_uses, expires_at=expires_at)

        def show(screen: Screen) -> None:
            screen.line(made.code, "bold green")
            uses = "once" if max_uses == 1 else f"{max_uses} times"
            until = "" if made.expires_at is None else f", until {time(made.expires_at)}"
            screen.line(f"Gives {money(made.amount)} to an account; can be redeemed {uses} in all{until}.")

        return Answer(data={"invite": _data(made)}, show=show)

    body = f'{{"amount_usd": "{usd}", "max_uses": {max_uses}}}'
    return run(work, as_json=as_json, over_http=f"POST /v1/admin/invite-codes {body}")


@invites.command("list")
@json_option
def list_all(as_json: bool) -> int:
    """List the newest codes."""

    async def work(desk: Desk) -> Answer:
        found = await Invites(desk.store, wall_clock=desk.wall_clock).list()

        def show(screen: Screen) -> None:
            if not found:
                screen.line("There are no invite codes.")
                return
            screen.table(
                ("code", "gives", "used", "of", "active", "expires", "made"),
                [
                    (
                        one.code,
                        money(one.amount),
                        one.used_count,
                        one.max_uses,
                        one.active,
                        minute(one.expires_at),
                        minute(one.created_at),
                    )
                    for one in found
                ],
                right=("gives", "used", "of"),
                whole=("code", "gives", "expires", "made"),
            )

        return Answer(data={"invites": [_data(one) for one in found]}, show=show)

    return run(work, as_json=as_json, reads=True)


@invites.command()
@click.argument("code")
@json_option
def deactivate(code: str, as_json: bool) -> int:
    """Switch CODE off for good; what was redeemed stays."""
    target = normal_code(code) or ""

    async def work(desk: Desk) -> Answer:
        def describe(changed: object) -> tuple[str, Facts] | None:
            return (target, {"active": False}) if changed else None

        store = AuditedStore(
            desk.store, actor=desk.actor, action="invite.deactivate", describe=describe, wall_clock=desk.wall_clock
        )
        if not await Invites(store, wall_clock=desk.wall_clock).deactivate(code):
            raise Refusal("not_found", "There is no such invite code; `admin invites list` shows them.")
        return Answer(
            data={"code": target, "status": "deactivated"},
            show=lambda screen: screen.line(f"The code {target} gives nothing any more."),
        )

    return run(work, as_json=as_json, over_http=f'DELETE /v1/admin/invite-codes {{"code": "{target}"}}')


def _data(invite: Invite) -> dict[str, object]:
    return {
        "code": invite.code,
        "amount_micro_usd": invite.amount,
        "max_uses": invite.max_uses,
        "used_count": invite.used_count,
        "active": invite.active,
        "expires_at": time(invite.expires_at),
        "created_at": time(invite.created_at),
    }
