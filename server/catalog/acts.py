"""What publishers do to the catalogue, each act with its audit row; the catalogue in memory follows at once."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec import UNSET, structs

from protocol.manifest import Manifest, ManifestRefused, encode_manifest, parse_manifest, prefix_of
from server.administration.operator import Deed
from server.billing.ledger import PLATFORM
from server.billing.price_book import write_price
from server.billing.prices import Price
from server.catalog import alias_rows, rows
from server.catalog.records import Alias, CatalogModel, ModelFacts
from server.catalog.refused import NotPublished
from server.catalog.wishes import checked_name
from server.store.errors import Conflict, Invalid, NotFound, StoreUnavailable

if TYPE_CHECKING:
    from server.administration.operator import Operator
    from server.catalog.book import ModelBook
    from server.catalog.published import PublishedFiles
    from server.catalog.wishes import AliasWish, FactsWish, Promotion, Registration, Removal
    from server.store import Tx

T = TypeVar("T")

_log = logging.getLogger("darkbloom.catalog")


class CatalogActs:
    """Acts on the catalogue; raises Invalid, NotFound, Conflict, NotPublished and StoreUnavailable.

    `files` is None where no download server is configured. `on_priced` hears of models whose price was written.
    """

    def __init__(
        self,
        operator: Operator,
        book: ModelBook,
        *,
        files: PublishedFiles | None = None,
        on_priced: Callable[[str], None] = lambda _model: None,
    ) -> None:
        self._operator = operator
        self._book = book
        self._files = files
        self._on_priced = on_priced

    # --- models -----------------------------------------------------------------------------------------------------

    async def register(self, actor: str, wish: Registration) -> CatalogModel:
        """Enter a published version, and serve it unless that is not wanted; the same again changes nothing."""
        price = _price(wish)
        manifest = await self._manifest(wish)

        async def work(tx: Tx, now: int) -> Deed[CatalogModel]:
            before = await rows.read_model(tx, wish.model_id)
            facts = wish.applied_to(before.facts if before is not None else ModelFacts())
            await rows.write_facts(tx, wish.model_id, facts, now)
            key = await _entered(tx, manifest, actor, now)
            if wish.activate:
                await rows.activate(tx, wish.model_id, key, now)
            if price is not None:
                await write_price(tx, PLATFORM, wish.model_id, price, now)
            after = await _known(tx, wish.model_id)
            return Deed(after, wish.model_id, _audited(before), {**_audited(after), "registered": wish.version})

        try:
            return await self._act(actor, "model.register", work)
        finally:
            if price is not None:
                self._on_priced(wish.model_id)

    async def set_facts(self, actor: str, wish: FactsWish) -> CatalogModel:
        """Say something of a model; one that is not there is entered, without published files."""
        checked_name(wish.model_id, "model_id")

        async def work(tx: Tx, now: int) -> Deed[CatalogModel]:
            before = await rows.read_model(tx, wish.model_id)
            facts = wish.applied_to(before.facts if before is not None else ModelFacts())
            if facts.status == "retired":
                await _refuse_if_desired(tx, wish.model_id)
            await rows.write_facts(tx, wish.model_id, facts, now)
            after = await _known(tx, wish.model_id)
            return Deed(after, wish.model_id, _audited(before), _audited(after))

        return await self._act(actor, "model.set", work)

    async def promote(self, actor: str, wish: Promotion) -> CatalogModel:
        """Serve another version that was registered: a newer one, or an older one again."""

        async def work(tx: Tx, now: int) -> Deed[CatalogModel]:
            before = await _known(tx, wish.model_id)
            key = await rows.version_key(tx, wish.model_id, wish.version)
            if key is None:
                raise NotFound(f"The version {wish.version[:100]!r} of this model was never registered.")
            await rows.activate(tx, wish.model_id, key, now)
            after = await _known(tx, wish.model_id)
            return Deed(after, wish.model_id, _audited(before), _audited(after))

        return await self._act(actor, "model.promote", work)

    async def remove(self, actor: str, wish: Removal) -> None:
        """Retire a model: what runs ends well, new requests do not find it any more."""

        async def work(tx: Tx, now: int) -> Deed[None]:
            before = await _known(tx, wish.model_id)
            await _refuse_if_desired(tx, wish.model_id)
            await rows.write_facts(tx, wish.model_id, structs.replace(before.facts, status="retired"), now)
            return Deed(None, wish.model_id, _audited(before), {"status": "retired"})

        await self._act(actor, "model.remove", work)

    # --- aliases ----------------------------------------------------------------------------------------------------

    async def save_alias(self, actor: str, wish: AliasWish) -> Alias:
        """Write an alias; its desired build must be one that the catalogue serves, if there is a catalogue."""
        checked_name(wish.id, "id")
        for build in (wish.desired_build, *(wish.retired_builds or ())):
            checked_name(build, "A build")
        if wish.desired_build == wish.id:
            raise Invalid("An alias cannot stand for itself; name the build that it stands for.")

        async def work(tx: Tx, now: int) -> Deed[Alias]:
            before = await alias_rows.read_alias(tx, wish.id)
            if await alias_rows.read_alias(tx, wish.desired_build) is not None:
                raise Invalid("An alias cannot stand for another alias; name the build that it stands for.")
            await self._check_served(tx, wish.desired_build)
            await alias_rows.write_alias(tx, _written(wish, before), now)
            after = await alias_rows.read_alias(tx, wish.id)
            if after is None:
                raise NotFound("The alias went away while it was written; write it again.")
            return Deed(after, wish.id, _alias_facts(before), _alias_facts(after))

        return await self._act(actor, "alias.save", work)

    async def delete_alias(self, actor: str, alias_id: str) -> None:
        """Remove an alias; the builds behind it are listed under their own names again."""

        async def work(tx: Tx, _now: int) -> Deed[None]:
            before = await alias_rows.read_alias(tx, alias_id)
            if before is None or not await alias_rows.delete_alias(tx, alias_id):
                raise NotFound(f"There is no alias {alias_id[:100]!r}.")
            return Deed(None, alias_id, _alias_facts(before))

        await self._act(actor, "alias.delete", work)

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _act(self, actor: str, action: str, work: Callable[[Tx, int], Awaitable[Deed[T]]]) -> T:
        try:
            return await self._operator.act(actor, action, work)
        finally:
            await self._refresh()

    async def _refresh(self) -> None:
        """Show the act at once; while the database is away the background task catches up."""
        try:
            await self._book.refresh()
        except StoreUnavailable:
            _log.warning("the catalogue could not be read after an act; it follows within seconds")

    async def _manifest(self, wish: Registration) -> Manifest:
        model_id = checked_name(wish.model_id, "model_id")
        prefix = wish.r2_prefix or prefix_of(model_id, wish.version)
        if self._files is not None:
            content = await self._files.manifest(prefix)
        elif wish.manifest is not UNSET:
            content = encode_manifest(wish.manifest)
        else:
            raise NotPublished(
                "No download server is configured (DARKBLOOM_MODEL_CDN_URL); send the manifest in the body."
            )
        try:
            found = parse_manifest(content, model_id=model_id, r2_prefix=prefix if self._files is not None else "")
        except ManifestRefused as refused:
            raise NotPublished(str(refused)) from None
        if found.version != wish.version:
            raise NotPublished("The manifest names another version than the request; publish it again.")
        if self._files is not None:
            await self._files.check(found)
        return found

    async def _check_served(self, tx: Tx, build: str) -> None:
        model = await rows.read_model(tx, build) or self._book.model(build)
        if (model is None or not model.is_served) and self._book.configured:
            raise Invalid(f"The build {build[:100]!r} is not in the catalogue; register it first.")


async def _known(tx: Tx, model_id: str) -> CatalogModel:
    found = await rows.read_model(tx, model_id)
    if found is None:
        raise NotFound(f"The model {model_id[:100]!r} is not in the catalogue's database; register or set it first.")
    return found


async def _entered(tx: Tx, manifest: Manifest, actor: str, now: int) -> int:
    """The row of a version, which is written unless it is there already; other content under its name is refused."""
    key = await rows.version_key(tx, manifest.model_id, manifest.version)
    if key is None:
        return await rows.insert_version(tx, manifest, uploaded_by=actor, now=now)
    stored = await rows.read_manifest(tx, manifest.model_id, manifest.version)
    if stored is None or structs.replace(stored, created_at="") != structs.replace(manifest, created_at=""):
        raise Conflict("This version was registered with other files; publish them under a new version.")
    return key


async def _refuse_if_desired(tx: Tx, model_id: str) -> None:
    for alias in await alias_rows.read_aliases(tx):
        if alias.active and alias.desired_build == model_id:
            raise Conflict(f"The alias {alias.id!r} stands for this model; point it elsewhere first.")


def _written(wish: AliasWish, before: Alias | None) -> Alias:
    previous = wish.previous_build
    if previous is UNSET:
        changed = before is not None and before.desired_build != wish.desired_build
        previous = "" if before is None else before.desired_build if changed else before.previous_build
    if previous == wish.desired_build:
        previous = ""
    kept = before if before is not None else Alias(id=wish.id, desired_build=wish.desired_build)
    return Alias(
        id=wish.id,
        desired_build=wish.desired_build,
        previous_build=previous,
        retired_builds=kept.retired_builds if wish.retired_builds is UNSET else wish.retired_builds,
        display_name=kept.display_name if wish.display_name is UNSET else wish.display_name,
        active=wish.active,
    )


def _price(wish: Registration) -> Price | None:
    if wish.input_price is None and wish.output_price is None:
        return None
    if wish.input_price is None or wish.output_price is None:
        raise Invalid("input_price and output_price belong together; send both or neither.")
    return Price(wish.input_price, wish.output_price, None)


def _audited(model: CatalogModel | None) -> dict[str, object]:
    if model is None:
        return {}
    facts: dict[str, object] = msgspec.to_builtins(model.facts)
    return {**facts, "version": model.version.version if model.version is not None else ""}


def _alias_facts(alias: Alias | None) -> dict[str, object]:
    found: dict[str, object] = {} if alias is None else msgspec.to_builtins(alias)
    return found
