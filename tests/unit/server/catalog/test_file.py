"""The operator's file of models and aliases: read, or refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.catalog.file import CatalogUnusable, read_aliases, read_catalog


def test_catalogue_is_optional(tmp_path: Path) -> None:
    assert read_catalog(None) is None
    file = tmp_path / "models.toml"
    file.write_text('[[models]]\nid = "demo"\nweight_hash = "ab"\nsize_gb = 0.5\n')
    entries = read_catalog(file)
    assert entries is not None
    assert [(entry.id, entry.weight_hash, entry.size_gb) for entry in entries] == [("demo", "ab", 0.5)]


@pytest.mark.parametrize("text", ["models = 5", '[[models]]\nname = "x"', "not toml [", '[[model]]\nid = "x"'])
def test_unusable_catalogue_names_the_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "models.toml"
    file.write_text(text)
    with pytest.raises(CatalogUnusable, match="DARKBLOOM_MODEL_CATALOG"):
        read_catalog(file)


def test_missing_catalogue_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(CatalogUnusable, match="nowhere"):
        read_catalog(tmp_path / "nowhere.toml")


def test_aliases_stand_beside_the_models(tmp_path: Path) -> None:
    assert read_aliases(None) == []
    file = tmp_path / "models.toml"
    file.write_text('[[aliases]]\nid = "demo"\ndesired_build = "org/demo-4bit"\n')
    assert read_catalog(file) is None
    assert [(alias.id, alias.desired_build) for alias in read_aliases(file)] == [("demo", "org/demo-4bit")]
