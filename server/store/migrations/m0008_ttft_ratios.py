"""How far the estimates of the time to the first token were off, by model and chip family.

`subject` is a JSON array: the model, and the chip family or null for all of them. `ratios` is a JSON array of the last
samples, oldest first.
"""

from __future__ import annotations

from typing import Final

from server.store.migration import Migration, statements

MIGRATION: Final = Migration(
    version=8,
    name="ttft_ratios",
    statements=statements("""
CREATE TABLE ttft_ratios (
  subject TEXT PRIMARY KEY,
  ratios TEXT NOT NULL,
  updated_at @I NOT NULL
)@S;
CREATE INDEX ix_ttft_ratios_updated ON ttft_ratios(updated_at)
"""),
)
