"""The model catalogue: which builds may be served, under which public names, and where their files lie."""

from server.catalog.acts import CatalogActs
from server.catalog.book import NOTHING_LISTED, AliasTarget, ModelBook, ModelDirectory
from server.catalog.records import Alias, CatalogModel, ModelFacts, Version

__all__ = [
    "NOTHING_LISTED",
    "Alias",
    "AliasTarget",
    "CatalogActs",
    "CatalogModel",
    "ModelBook",
    "ModelDirectory",
    "ModelFacts",
    "Version",
]
