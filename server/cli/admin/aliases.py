"""`admin aliases …`: public names, and the builds that they stand for."""

from __future__ import annotations

import json

import click

from server.api.admin_models import alias_answer
from server.catalog import alias_rows
from server.catalog.wishes import AliasWish
from server.cli.admin.catalog import FOLLOW, catalog_acts, wish_of
from server.cli.admin.screen import Answer, Screen, minute
from server.cli.admin.session import Desk, json_option, run


@click.group()
def aliases() -> None:
    """Say which public names stand for which builds."""


@aliases.command("list")
@json_option
def list_all(as_json: bool) -> int:
    """List the aliases of the database, switched off ones too."""

    async def work(desk: Desk) -> Answer:
        found = await desk.operator.read(alias_rows.read_aliases)

        def show(screen: Screen) -> None:
            if not found:
                screen.line("There are no aliases in the database.")
                return
            screen.table(
                ("alias", "stands for", "before it", "hides", "active", "changed (UTC)"),
                [
                    (one.id, one.desired_build, one.previous_build, ", ".join(one.retired_builds), one.active,
                     minute(one.updated_at))
                    for one in found
                ],
                whole=("alias", "stands for", "before it", "changed (UTC)"),
            )  # fmt: skip

        return Answer(data={"aliases": [alias_answer(one) for one in found]}, show=show)

    return run(work, as_json=as_json, reads=True)


@aliases.command()
@click.argument("alias")
@click.argument("build")
@click.option("--previous", help="The build to fall back to; the one before, unless given. Empty: none.")
@click.option("--hide", multiple=True, metavar="BUILD", help="A build that is not listed either; repeatable.")
@click.option("--display-name", help="The name for people.")
@click.option("--active/--inactive", default=True, show_default=True)
@json_option
def save(
    alias: str,
    build: str,
    previous: str | None,
    hide: tuple[str, ...],
    display_name: str | None,
    active: bool,
    as_json: bool,
) -> int:
    """Let ALIAS stand for BUILD; moving it to another build keeps the one before to fall back to."""
    given = {"previous_build": previous, "retired_builds": list(hide) or None, "display_name": display_name}
    body: dict[str, object] = {"id": alias, "desired_build": build, "active": active}
    body |= {member: value for member, value in given.items() if value is not None}
    wish = wish_of(AliasWish, body)

    async def work(desk: Desk) -> Answer:
        saved = await (await catalog_acts(desk)).save_alias(desk.actor, wish)
        fall_back = f", and for {saved.previous_build} where that is not served" if saved.previous_build else ""
        said = f"{saved.id} stands for {saved.desired_build}{fall_back}. {FOLLOW}"
        return Answer(data={"alias": alias_answer(saved)}, show=lambda screen: screen.line(said))

    return run(work, as_json=as_json, over_http=f"POST /v1/admin/models/aliases {json.dumps(body)}")


@aliases.command()
@click.argument("alias")
@json_option
def delete(alias: str, as_json: bool) -> int:
    """Remove ALIAS; the builds behind it are listed under their own names again."""

    async def work(desk: Desk) -> Answer:
        await (await catalog_acts(desk)).delete_alias(desk.actor, alias)
        data = {"alias": alias, "status": "deleted"}
        return Answer(data=data, show=lambda screen: screen.line(f"{alias} is no alias any more. {FOLLOW}"))

    return run(work, as_json=as_json, over_http=f"DELETE /v1/admin/models/aliases/{alias}")
