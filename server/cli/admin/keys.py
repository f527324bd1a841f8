"""`admin keys …`: API keys of any account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from server.accounts.key_settings import parse_changes
from server.administration import accounts as account_views
from server.administration import keys as views
from server.administration.keys import KeyActs, KeyView
from server.billing.key_spend import WINDOWS
from server.cli.admin.screen import Answer, Screen, money, time
from server.cli.admin.session import Desk, json_option, named, others_follow, run

if TYPE_CHECKING:
    from server.store import Tx


@click.group()
def keys() -> None:
    """Make, list, disable and revoke API keys.

    KEY is an id or a label, never the secret.
    """


@keys.command()
@click.argument("who")
@click.option("--name", default="", help="What the key is for.")
@click.option("--limit-usd", metavar="USD", help="Spend cap for each window.")
@click.option("--limit-reset", type=click.Choice(WINDOWS), help="Window of the cap; lifetime unless given.")
@click.option("--rpm", type=click.IntRange(0), help="Requests a minute.")
@click.option("--itpm", type=click.IntRange(0), help="Prompt tokens a minute.")
@click.option("--otpm", type=click.IntRange(0), help="Output tokens a minute.")
@click.option("--model", "models", multiple=True, metavar="NAME", help="A model that may be asked for; repeatable.")
@click.option("--self-route-only", is_flag=True, help="Only the account's own machines, for free.")
@click.option("--expires-at", metavar="TIME", help="RFC 3339, such as 2030-07-15T12:00:00Z.")
@json_option
def create(
    who: str,
    name: str,
    limit_usd: str | None,
    limit_reset: str | None,
    rpm: int | None,
    itpm: int | None,
    otpm: int | None,
    models: tuple[str, ...],
    self_route_only: bool,
    expires_at: str | None,
    as_json: bool,
) -> int:
    """Make a key for the account WHO; its secret is shown this one time."""
    given: dict[str, object] = {
        "name": name,
        "limit_usd": limit_usd,
        "limit_reset": limit_reset,
        "rpm_limit": rpm,
        "itpm_limit": itpm,
        "otpm_limit": otpm,
        "allowed_models": list(models) or None,
        "self_route_only": self_route_only or None,
        "expires_at": expires_at,
    }
    body = {member: value for member, value in given.items() if value not in (None, "")}

    async def work(desk: Desk) -> Answer:
        settings = parse_changes(body, now=desk.wall_clock())
        made = await KeyActs(desk.operator).create(desk.actor, who, settings)
        origin = (desk.settings.base_url or f"http://127.0.0.1:{desk.settings.port}").rstrip("/")

        def show(screen: Screen) -> None:
            screen.line(f"Made the key {made.key.id} for the account {made.key.owner_account_id}:")
            screen.secret(made.secret, "Keep it now: the database has only its hash, and nobody can show it again.")

        data = {
            "key": made.secret,
            "id": made.key.id,
            "label": made.key.label,
            "account_id": made.key.owner_account_id,
            "name": made.key.settings.name,
        }
        return Answer(data=data, show=show, next_steps=(f'curl {origin}/v1/models -H "Authorization: Bearer THE_KEY"',))

    return run(work, as_json=as_json, over_http=f'POST /v1/admin/keys {{"account_id": "{named(who)}"}}')


@keys.command("list")
@click.argument("who", default="")
@click.option("--all", "revoked", is_flag=True, help="Revoked ones too.")
@click.option("--limit", type=click.IntRange(1, views.MAX_LISTED), default=100, show_default=True)
@json_option
def list_keys(who: str, revoked: bool, limit: int, as_json: bool) -> int:
    """List the keys of WHO, or of all accounts; newest first."""

    async def look(tx: Tx) -> list[KeyView]:
        account_id = await account_views.resolve(tx, who) if who else None
        return await views.listing(tx, account_id, revoked=revoked, limit=limit)

    async def work(desk: Desk) -> Answer:
        found = await desk.operator.read(look)
        now = desk.wall_clock()

        def show(screen: Screen) -> None:
            if found:
                key_table(screen, found, now, owners=not who)
            else:
                screen.line("There are no keys.")

        steps = () if found else ("darkbloom-coordinator admin keys create WHO --name first",)
        return Answer(data={"keys": [key_data(key, now) for key in found]}, show=show, next_steps=steps)

    return run(work, as_json=as_json, reads=True)


@keys.command()
@click.argument("key")
@json_option
def revoke(key: str, as_json: bool) -> int:
    """Kill KEY for ever."""

    async def work(desk: Desk) -> Answer:
        return _changed(desk, await KeyActs(desk.operator).revoke(desk.actor, key), "revoked")

    return run(work, as_json=as_json, over_http=f"DELETE /v1/admin/keys/{key}")


@keys.command()
@click.argument("key")
@json_option
def disable(key: str, as_json: bool) -> int:
    """Switch KEY off; `enable` switches it on again."""

    async def work(desk: Desk) -> Answer:
        return _changed(desk, await KeyActs(desk.operator).set_disabled(desk.actor, key, True), "disabled")

    return run(work, as_json=as_json, over_http=f'PATCH /v1/admin/keys/{key} {{"disabled": true}}')


@keys.command()
@click.argument("key")
@json_option
def enable(key: str, as_json: bool) -> int:
    """Switch KEY on again."""

    async def work(desk: Desk) -> Answer:
        return _changed(desk, await KeyActs(desk.operator).set_disabled(desk.actor, key, False), "enabled")

    return run(work, as_json=as_json, over_http=f'PATCH /v1/admin/keys/{key} {{"disabled": false}}')


def key_data(key: KeyView, now: int) -> dict[str, object]:
    """Describe a key as JSON."""
    return {
        "id": key.id,
        "account_id": key.owner_account_id,
        "name": key.name,
        "label": key.label,
        "state": key.state(now),
        "limit_micro_usd": key.limit_micro_usd,
        "limit_reset": key.limit_reset,
        "expires_at": time(key.expires_at),
        "created_at": time(key.created_at),
        "last_used_at": time(key.last_used_at),
        "revoked_at": time(key.revoked_at),
    }


def key_table(screen: Screen, keys: Sequence[KeyView], now: int, *, owners: bool = False) -> None:
    """Print keys; `owners`: with their accounts instead of what only tells keys of one account apart."""
    columns = ["key", "name", "state", "cap", "last used", *(["account"] if owners else ["label", "made"])]
    rows = [
        [
            key.id,
            key.name,
            key.state(now),
            _cap(key),
            _day(key.last_used_at),
            *([key.owner_account_id] if owners else [key.label, _day(key.created_at)]),
        ]
        for key in keys
    ]
    screen.table(columns, rows, whole=("key", "label", "account", "last used", "made"))


def _day(microseconds: int | None) -> str | None:
    text = time(microseconds)
    return None if text is None else text[:10]


def _cap(key: KeyView) -> str | None:
    if key.limit_micro_usd is None:
        return None
    window = "" if key.limit_reset == "none" else f" {key.limit_reset}"
    return f"{money(key.limit_micro_usd)}{window}"


def _changed(desk: Desk, key: KeyView, done: str) -> Answer:
    now = desk.wall_clock()
    return Answer(
        data={"key": key_data(key, now)},
        show=lambda screen: screen.line(f"The key {key.id} ({key.label}) is {done}.{others_follow(desk)}"),
    )
