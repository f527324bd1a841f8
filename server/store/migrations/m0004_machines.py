"""Machines of providers: identity, last record, reputation, sessions, log reports.

Serial numbers are kept encrypted (`serial_sealed`), with a keyed hash to find them by (`serial_hash`); both keys live
outside the database. A stored trust level is history: it never grants trust.
"""

from __future__ import annotations

from typing import Final

from server.store.migration import Migration, statements

MIGRATION: Final = Migration(
    version=4,
    name="machines",
    statements=statements("""
CREATE TABLE providers (
  id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL DEFAULT '',
  serial_hash TEXT NOT NULL DEFAULT '',
  serial_sealed @B,
  se_public_key TEXT NOT NULL DEFAULT '',
  public_key TEXT NOT NULL DEFAULT '',
  display_name TEXT NOT NULL DEFAULT '',
  backend TEXT NOT NULL DEFAULT '',
  version TEXT NOT NULL DEFAULT '',
  hardware TEXT NOT NULL DEFAULT '{}',
  models TEXT NOT NULL DEFAULT '[]',
  location TEXT,
  trust_level TEXT NOT NULL DEFAULT 'none',
  attested @I NOT NULL DEFAULT 0,
  attestation_result TEXT,
  mda_verified @I NOT NULL DEFAULT 0,
  mda_cert_chain TEXT,
  acme_verified @I NOT NULL DEFAULT 0,
  runtime_verified @I NOT NULL DEFAULT 0,
  python_hash TEXT NOT NULL DEFAULT '',
  runtime_hash TEXT NOT NULL DEFAULT '',
  last_challenge_verified @I,
  failed_challenges @I NOT NULL DEFAULT 0,
  lifetime_requests_served @I NOT NULL DEFAULT 0,
  lifetime_tokens_generated @I NOT NULL DEFAULT 0,
  last_session_requests_served @I NOT NULL DEFAULT 0,
  last_session_tokens_generated @I NOT NULL DEFAULT 0,
  lifetime_stats TEXT,
  last_session_stats TEXT,
  registered_at @I NOT NULL,
  last_seen @I NOT NULL
)@S;
CREATE INDEX ix_providers_serial ON providers(serial_hash, last_seen DESC, id DESC) WHERE serial_hash <> '';
CREATE INDEX ix_providers_se ON providers(se_public_key, last_seen DESC, id DESC) WHERE se_public_key <> '';
CREATE INDEX ix_providers_account ON providers(account_id, last_seen DESC) WHERE account_id <> '';

CREATE TABLE provider_reputation (
  provider_id TEXT PRIMARY KEY REFERENCES providers(id) ON DELETE CASCADE,
  total_jobs @I NOT NULL DEFAULT 0,
  successful_jobs @I NOT NULL DEFAULT 0,
  failed_jobs @I NOT NULL DEFAULT 0,
  total_uptime_seconds @I NOT NULL DEFAULT 0,
  avg_response_time_ms @I NOT NULL DEFAULT 0,
  challenges_passed @I NOT NULL DEFAULT 0,
  challenges_failed @I NOT NULL DEFAULT 0,
  updated_at @I NOT NULL
)@S;

CREATE TABLE provider_identity (
  se_public_key TEXT PRIMARY KEY,
  serial_hash TEXT NOT NULL DEFAULT '',
  serial_sealed @B,
  account_id TEXT NOT NULL DEFAULT '',
  provider_id TEXT NOT NULL DEFAULT '',
  last_blob @B,
  last_code TEXT NOT NULL DEFAULT '',
  first_seen @I NOT NULL,
  last_seen @I NOT NULL
)@S;
CREATE INDEX ix_identity_serial ON provider_identity(serial_hash) WHERE serial_hash <> '';
CREATE INDEX ix_identity_account ON provider_identity(account_id) WHERE account_id <> '';

CREATE TABLE provider_sessions (
  id @PK,
  session_id TEXT NOT NULL UNIQUE,
  serial_hash TEXT NOT NULL DEFAULT '',
  account_id TEXT NOT NULL DEFAULT '',
  provider_key TEXT NOT NULL DEFAULT '',
  connected_at @I NOT NULL,
  last_seen @I NOT NULL,
  disconnected_at @I,
  disconnect_reason TEXT NOT NULL DEFAULT ''
)@S;
CREATE INDEX ix_psess_key ON provider_sessions(provider_key, connected_at);
CREATE INDEX ix_psess_account ON provider_sessions(account_id, connected_at) WHERE account_id <> '';
CREATE INDEX ix_psess_open ON provider_sessions(last_seen) WHERE disconnected_at IS NULL;
CREATE INDEX ix_psess_seen ON provider_sessions(last_seen);

CREATE TABLE provider_log_reports (
  id @PK,
  provider_id TEXT NOT NULL DEFAULT '',
  account_id TEXT NOT NULL DEFAULT '',
  serial_hash TEXT NOT NULL DEFAULT '',
  log_data @B NOT NULL,
  log_size_bytes @I NOT NULL CHECK (log_size_bytes BETWEEN 0 AND 10485760),
  created_at @I NOT NULL
)@S;
CREATE INDEX ix_logs_provider ON provider_log_reports(provider_id, created_at DESC);
CREATE INDEX ix_logs_created ON provider_log_reports(created_at);
"""),
)
