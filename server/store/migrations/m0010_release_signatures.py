"""The signature of a release over its bundle's hash, where its operator signs."""

from __future__ import annotations

from typing import Final

from server.store.migration import Migration, statements

MIGRATION: Final = Migration(
    version=10,
    name="release_signatures",
    statements=statements("""
ALTER TABLE releases ADD COLUMN signature TEXT NOT NULL DEFAULT ''
"""),
)
