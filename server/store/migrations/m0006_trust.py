"""Evidence that outlives a connection: device proofs, code attestations, receipts, the transparency log.

Evidence lets a proof be skipped that was given recently; none of it grants trust by itself. Rows are found by the
machine's signing key; serials, device ids and push tokens are sealed with a key outside the database.
"""

from __future__ import annotations

from typing import Final

from server.store.migration import Migration, statements

MIGRATION: Final = Migration(
    version=6,
    name="trust",
    statements=statements("""
CREATE TABLE trust_evidence (
  se_public_key TEXT PRIMARY KEY,
  serial_hash TEXT NOT NULL DEFAULT '',
  serial_sealed @B,
  udid_sealed @B,
  trust_level TEXT NOT NULL DEFAULT 'none',
  sip_enabled @I NOT NULL DEFAULT 0,
  secure_boot_full @I NOT NULL DEFAULT 0,
  binary_hash TEXT NOT NULL DEFAULT '',
  proof_at @I,
  covered_at @I,
  format @I NOT NULL DEFAULT 1,
  generation @I NOT NULL DEFAULT 0,
  revoked_generation @I,
  revoke_code TEXT NOT NULL DEFAULT '',
  updated_at @I NOT NULL
)@S;

CREATE TABLE trust_revocations (
  key_hash TEXT PRIMARY KEY,
  generation @I NOT NULL,
  code TEXT NOT NULL,
  created_at @I NOT NULL
)@S;

CREATE TABLE device_attestations (
  se_public_key TEXT PRIMARY KEY,
  chain TEXT NOT NULL,
  freshness TEXT NOT NULL DEFAULT '',
  minted_at @I,
  verified_at @I NOT NULL
)@S;

CREATE TABLE code_attestations (
  se_public_key TEXT PRIMARY KEY,
  version TEXT NOT NULL,
  token_sealed @B,
  node_public_key TEXT NOT NULL DEFAULT '',
  binary_hash TEXT NOT NULL DEFAULT '',
  attested_at @I NOT NULL
)@S;

CREATE TABLE push_budgets (
  se_public_key TEXT PRIMARY KEY,
  token_hash TEXT NOT NULL,
  last_push_at @I NOT NULL
)@S;

CREATE TABLE verification_jobs (
  binding TEXT NOT NULL,
  kind TEXT NOT NULL,
  state TEXT NOT NULL,
  attempts @I NOT NULL DEFAULT 0,
  next_at @I NOT NULL,
  claimed_by TEXT NOT NULL DEFAULT '',
  claim_until @I,
  command_hash TEXT NOT NULL DEFAULT '',
  created_at @I NOT NULL,
  PRIMARY KEY (binding, kind)
)@S;
CREATE INDEX ix_jobs_due ON verification_jobs(next_at);

CREATE TABLE receipts (
  hash TEXT PRIMARY KEY,
  request_id TEXT NOT NULL DEFAULT '',
  receipt TEXT NOT NULL,
  signature TEXT NOT NULL,
  se_public_key TEXT NOT NULL,
  checks TEXT NOT NULL DEFAULT '{}',
  created_at @I NOT NULL
)@S;
CREATE INDEX ix_receipts_created ON receipts(created_at);

CREATE TABLE tlog (
  seq @I PRIMARY KEY CHECK (seq >= 0),
  leaf @B NOT NULL,
  leaf_hash @B NOT NULL UNIQUE,
  created_at @I NOT NULL
)@S;
"""),
)
