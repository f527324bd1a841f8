"""What commands about models and aliases share: the acts over the catalogue of the database and the operator's file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import click
import msgspec

from server.catalog import CatalogActs, ModelBook
from server.catalog.file import CatalogUnusable, read_aliases, read_catalog
from server.catalog.published import PublishedFiles
from server.cli.admin.session import Refusal
from server.cli.loading import EXIT_CONFIGURATION

if TYPE_CHECKING:
    from server.cli.admin.session import Desk

W = TypeVar("W")

FOLLOW: Final = "Running coordinators follow within 10 seconds."


async def catalog_acts(desk: Desk) -> CatalogActs:
    """Open the catalogue as a coordinator with these settings has it; raises Refusal for an unusable file."""
    settings = desk.settings
    try:
        entries, aliases = read_catalog(settings.model_catalog), read_aliases(settings.model_catalog)
    except CatalogUnusable as error:
        raise Refusal("not_configured", str(error), EXIT_CONFIGURATION) from None
    book = ModelBook(desk.store, file_entries=entries, file_aliases=aliases, on_change=lambda _entries: None)
    await book.refresh()
    files = None if settings.model_cdn_url is None else PublishedFiles(settings.model_cdn_url)
    return CatalogActs(desk.operator, book, files=files)


def wish_of(kind: type[W], body: dict[str, object]) -> W:
    """Read what was given on the command line as a publisher's wish; raises click.UsageError."""
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise click.UsageError(f"This cannot be used: {error}.") from None
