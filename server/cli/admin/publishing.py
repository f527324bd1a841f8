"""`admin publishing-keys …`: keys that may publish models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from server.accounts import publishing_keys as rows
from server.accounts.credentials import ListedSecrets
from server.accounts.publishing_keys import PublishingKeys
from server.accounts.use_notes import UseNotes
from server.administration.operator import AuditedStore
from server.cli.admin.screen import Answer, Screen, minute, time
from server.cli.admin.session import Desk, Refusal, json_option, run

if TYPE_CHECKING:
    from server.administration.audit import Facts
    from server.store import Store


@click.group("publishing-keys")
def publishing_keys() -> None:
    """Manage keys that publish models."""


@publishing_keys.command()
@click.argument("name")
@json_option
def create(name: str, as_json: bool) -> int:
    """Make a key under NAME, which appears in the records of what it publishes; the secret is shown this one time."""

    async def work(desk: Desk) -> Answer:
        try:
            made = await _keys(desk, "publishing_key.create", name, {"name": name}).create(name)
        except ValueError as error:
            raise click.UsageError(str(error)) from None

        def show(screen: Screen) -> None:
            screen.line(f"Made the publishing key {made.id}:")
            screen.secret(made.secret, "Keep it now: the database has only its hash, and nobody can show it again.")

        return Answer(data={"key": made.secret, "id": made.id, "name": name.strip()}, show=show)

    return run(work, as_json=as_json)


@publishing_keys.command("list")
@json_option
def list_all(as_json: bool) -> int:
    """List all publishing keys, newest first."""

    async def work(desk: Desk) -> Answer:
        found = await _reading(desk.store, desk).list()

        def show(screen: Screen) -> None:
            if not found:
                screen.line("There are no publishing keys.")
                return
            screen.table(
                ("key", "name", "active", "made", "last used"),
                [(one.id, one.name, one.active, minute(one.created_at), minute(one.last_used_at)) for one in found],
                whole=("key", "made", "last used"),
            )

        data = [
            {
                "id": one.id,
                "name": one.name,
                "active": one.active,
                "created_at": time(one.created_at),
                "last_used_at": time(one.last_used_at),
            }
            for one in found
        ]
        return Answer(data={"publishing_keys": data}, show=show)

    return run(work, as_json=as_json, reads=True)


@publishing_keys.command()
@click.argument("key_id")
@json_option
def revoke(key_id: str, as_json: bool) -> int:
    """Take the rights of the publishing key KEY_ID."""

    async def work(desk: Desk) -> Answer:
        if not await _keys(desk, "publishing_key.revoke", key_id, {"active": False}).revoke(key_id):
            text = "There is no active publishing key with this id; `admin publishing-keys list` shows them."
            raise Refusal("not_found", text)
        return Answer(
            data={"id": key_id, "status": "revoked"},
            show=lambda screen: screen.line(f"The publishing key {key_id} is revoked."),
        )

    return run(work, as_json=as_json)


def _keys(desk: Desk, action: str, target: str, after: Facts) -> PublishingKeys:
    """Give the keys with an audited store; what changed no row leaves no row."""

    def describe(changed: object) -> tuple[str, Facts] | None:
        return (target, after) if changed else None

    store = AuditedStore(desk.store, actor=desk.actor, action=action, describe=describe, wall_clock=desk.wall_clock)
    return _reading(store, desk)


def _reading(store: Store, desk: Desk) -> PublishingKeys:
    nothing = ListedSecrets(())
    return PublishingKeys(
        store,
        bootstrap=nothing,
        admin_keys=nothing,
        uses=UseNotes(store, rows.note_used),
        wall_clock=desk.wall_clock,
    )
