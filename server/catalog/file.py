"""The operator's file: a TOML file with `[[models]]` and `[[aliases]]`, over which rows of the database win."""

from __future__ import annotations

from pathlib import Path

import msgspec

from server.catalog.records import Alias
from server.registry import CatalogEntry


class CatalogUnusable(Exception):
    """The file cannot be read; the text says where and why."""


class _CatalogFile(msgspec.Struct, forbid_unknown_fields=True):
    models: list[CatalogEntry] | None = None
    aliases: list[Alias] = []


def read_catalog(path: Path | None) -> list[CatalogEntry] | None:
    """Read the models; None without `[[models]]`. Raises CatalogUnusable."""
    return _catalog_file(path).models


def read_aliases(path: Path | None) -> list[Alias]:
    """Read the aliases of the same file; raises CatalogUnusable."""
    return _catalog_file(path).aliases


def _catalog_file(path: Path | None) -> _CatalogFile:
    if path is None:
        return _CatalogFile()
    try:
        return msgspec.toml.decode(path.read_bytes(), type=_CatalogFile)
    except (OSError, msgspec.MsgspecError) as error:
        raise CatalogUnusable(f"DARKBLOOM_MODEL_CATALOG={path} cannot be used: {error}") from error
