"""First withdrawals that wait for the operator."""

from __future__ import annotations

from typing import Final

from server.store.migration import Migration, statements

MIGRATION: Final = Migration(
    version=7,
    name="payout_reviews",
    statements=statements("""
CREATE TABLE payout_reviews (
  account_id TEXT PRIMARY KEY,
  state TEXT NOT NULL CHECK (state IN ('open','cleared')),
  payer_account TEXT NOT NULL,
  payer_micro_usd @I NOT NULL,
  earned_micro_usd @I NOT NULL,
  opened_at @I NOT NULL,
  decided_at @I,
  decided_by TEXT NOT NULL DEFAULT ''
)@S;
CREATE INDEX ix_payout_reviews_open ON payout_reviews(opened_at) WHERE state = 'open'
"""),
)
