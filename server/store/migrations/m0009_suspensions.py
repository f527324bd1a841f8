"""Accounts that an operator has suspended, since when and why; all that they have stays as it is."""

from __future__ import annotations

from typing import Final

from server.store.migration import Migration, statements

MIGRATION: Final = Migration(
    version=9,
    name="suspensions",
    statements=statements("""
ALTER TABLE users ADD COLUMN suspended_at @I;

ALTER TABLE users ADD COLUMN suspended_reason TEXT NOT NULL DEFAULT ''
"""),
)
