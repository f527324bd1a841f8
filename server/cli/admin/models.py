"""`admin models …`: which builds the catalogue serves, and in which version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from server.api.catalog import catalog_answer
from server.api.json_answer import timestamp
from server.billing.amounts import price_usd
from server.catalog import rows
from server.catalog.refused import NotPublished
from server.catalog.wishes import FactsWish, Promotion, Registration, Removal
from server.cli.admin.catalog import FOLLOW, catalog_acts, wish_of
from server.cli.admin.model_facts import facts_of, facts_options
from server.cli.admin.prices import micro_price
from server.cli.admin.screen import Answer, Screen, minute
from server.cli.admin.session import Desk, Refusal, json_option, run
from server.store import NotFound

if TYPE_CHECKING:
    from server.catalog import CatalogModel, Version
    from server.store import Tx

_GIGABYTE: Final = 1_000_000_000


@click.group()
def models() -> None:
    """Enter models and versions into the catalogue.

    MODEL is a concrete build, such as mlx-community/Qwen3-8B-4bit; public names for builds are aliases.
    """


@models.command("list")
@json_option
def list_all(as_json: bool) -> int:
    """List the models of the database, retired ones too."""

    async def work(desk: Desk) -> Answer:
        found = await desk.operator.read(rows.read_models)

        def show(screen: Screen) -> None:
            if not found:
                screen.line("There are no models in the database; those of DARKBLOOM_MODEL_CATALOG stand in that file.")
                return
            screen.table(
                ("model", "name", "status", "version", "GB", "RAM", "changed (UTC)"),
                [
                    (one.id, one.facts.display_name, one.facts.status, *_size(one), one.facts.min_ram_gb,
                     minute(one.updated_at))
                    for one in found
                ],
                right=("GB", "RAM"),
                whole=("model", "version", "changed (UTC)"),
            )  # fmt: skip

        return Answer(data={"models": [catalog_answer(one) for one in found]}, show=show)

    return run(work, as_json=as_json, reads=True)


@models.command()
@click.argument("model")
@json_option
def show(model: str, as_json: bool) -> int:
    """Show MODEL with all its versions."""

    async def look(tx: Tx) -> tuple[CatalogModel | None, dict[str, list[Version]]]:
        return await rows.read_model(tx, model), await rows.versions_of(tx, model)

    async def work(desk: Desk) -> Answer:
        found, versions = await desk.operator.read(look)
        if found is None:
            raise NotFound(f"The model {model[:100]!r} is not in the catalogue's database; register or set it first.")
        listed = versions.get(model, [])
        active = found.version.version if found.version is not None else None

        def show(screen: Screen) -> None:
            screen.facts(
                [(name, value) for name, value in catalog_answer(found).items() if value not in ("", 0, [], {})]
            )
            if listed:
                screen.table(
                    ("version", "served", "GB", "files", "entered (UTC)", "by"),
                    [
                        (one.version, one.version == active, _gigabytes(one), one.file_count, minute(one.uploaded_at),
                         one.uploaded_by)
                        for one in listed
                    ],
                    right=("GB", "files"),
                    whole=("version", "entered (UTC)"),
                )  # fmt: skip

        data = {
            "model": catalog_answer(found),
            "versions": [
                {
                    "version": one.version,
                    "active": one.version == active,
                    "aggregate_sha256": one.aggregate_sha256,
                    "total_size_bytes": one.total_size_bytes,
                    "file_count": one.file_count,
                    "uploaded_by": one.uploaded_by,
                    "uploaded_at": timestamp(one.uploaded_at),
                }
                for one in listed
            ],
        }
        return Answer(data=data, show=show)

    return run(work, as_json=as_json, reads=True)


@models.command()
@click.argument("model")
@click.argument("version")
@click.option(
    "--manifest",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The manifest's file, where no download server is configured.",
)
@click.option("--input", "input_usd", metavar="USD", help="Price per million prompt tokens; with --output.")
@click.option("--output", "output_usd", metavar="USD", help="Price per million output tokens.")
@click.option("--activate/--no-activate", default=True, show_default=True, help="Serve this version.")
@facts_options
@json_option
def register(
    model: str,
    version: str,
    manifest: Path | None,
    input_usd: str | None,
    output_usd: str | None,
    activate: bool,
    as_json: bool,
    **facts: Any,
) -> int:
    """Enter the published VERSION of MODEL: all its files must lie at the download server already."""
    body: dict[str, object] = {"model_id": model, "version": version, **facts_of(facts), "activate": activate}
    if manifest is not None:
        body["manifest"] = _json(manifest.read_text(), f"--manifest {manifest}")
    prices = {"input_price": ("--input", input_usd), "output_price": ("--output", output_usd)}
    body |= {member: micro_price(option, usd) for member, (option, usd) in prices.items() if usd is not None}
    wish = wish_of(Registration, body)

    async def work(desk: Desk) -> Answer:
        acts = await catalog_acts(desk)
        try:
            made = await acts.register(desk.actor, wish)
        except NotPublished as error:
            raise Refusal("refused", str(error)) from None
        said = f"{model} {version} is registered"
        if wish.input_price is not None and wish.output_price is not None:
            said += f"; {price_usd(wish.input_price)} input, {price_usd(wish.output_price)} output per million tokens"
        return _changed(made, f"{said}.")

    return run(work, as_json=as_json, over_http=f"POST /v1/admin/models/register {json.dumps(body)}")


@models.command("set")
@click.argument("model")
@facts_options
@json_option
def set_facts(model: str, as_json: bool, **facts: Any) -> int:
    """Say something of MODEL; what is not given stays. A model that is not there is entered, without files."""
    body: dict[str, object] = {"model_id": model, **facts_of(facts)}
    wish = wish_of(FactsWish, body)

    async def work(desk: Desk) -> Answer:
        acts = await catalog_acts(desk)
        return _changed(await acts.set_facts(desk.actor, wish), f"{model} is set.")

    return run(work, as_json=as_json, over_http=f"POST /v1/admin/models/set {json.dumps(body)}")


@models.command()
@click.argument("model")
@click.argument("version")
@json_option
def promote(model: str, version: str, as_json: bool) -> int:
    """Serve another registered VERSION of MODEL, a newer or an older one."""
    body: dict[str, object] = {"model_id": model, "version": version}
    wish = wish_of(Promotion, body)

    async def work(desk: Desk) -> Answer:
        acts = await catalog_acts(desk)
        return _changed(await acts.promote(desk.actor, wish), f"{model} is served as {version}.")

    return run(work, as_json=as_json, over_http=f"POST /v1/admin/models/promote {json.dumps(body)}")


@models.command()
@click.argument("model")
@json_option
def remove(model: str, as_json: bool) -> int:
    """Retire MODEL: what runs ends well, new requests do not find it any more."""
    body: dict[str, object] = {"model_id": model}
    wish = wish_of(Removal, body)

    async def work(desk: Desk) -> Answer:
        await (await catalog_acts(desk)).remove(desk.actor, wish)
        data = {"model": model, "status": "removed"}
        return Answer(data=data, show=lambda screen: screen.line(f"{model} is retired. {FOLLOW}"))

    return run(work, as_json=as_json, over_http=f"POST /v1/admin/models/remove {json.dumps(body)}")


def _changed(model: CatalogModel, said: str) -> Answer:
    return Answer(data={"model": catalog_answer(model)}, show=lambda screen: screen.line(f"{said} {FOLLOW}"))


def _json(text: str, what: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        raise click.UsageError(f"{what} holds no JSON.") from None


def _size(model: CatalogModel) -> tuple[str, str]:
    return ("", "") if model.version is None else (model.version.version, _gigabytes(model.version))


def _gigabytes(version: Version) -> str:
    return f"{version.total_size_bytes / _GIGABYTE:.2f}"
