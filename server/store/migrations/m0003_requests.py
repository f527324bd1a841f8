"""What requests left behind: usage, routes, rejections, profiles, samples of the fleet, telemetry; never a prompt.

`account_hash` is the SHA-256 of an account id: the diagnostic tables never name an account.
"""

from __future__ import annotations

from typing import Final

from server.store.migration import Migration, statements

MIGRATION: Final = Migration(
    version=3,
    name="requests",
    statements=statements("""
CREATE TABLE usage (
  id @PK,
  request_id TEXT NOT NULL UNIQUE,
  job_id TEXT NOT NULL DEFAULT '',
  account_id TEXT NOT NULL,
  key_id TEXT NOT NULL DEFAULT '',
  provider_id TEXT NOT NULL,
  model TEXT NOT NULL,
  public_model TEXT NOT NULL DEFAULT '',
  prompt_tokens @I NOT NULL,
  cached_tokens @I NOT NULL DEFAULT 0,
  completion_tokens @I NOT NULL,
  reasoning_tokens @I NOT NULL DEFAULT 0,
  cost_micro_usd @I NOT NULL DEFAULT 0,
  private @I NOT NULL DEFAULT 0,
  location TEXT,
  created_at @I NOT NULL
)@S;
CREATE INDEX ix_usage_created ON usage(created_at DESC);
CREATE INDEX ix_usage_account ON usage(account_id, created_at DESC);
CREATE INDEX ix_usage_key ON usage(key_id, created_at) WHERE key_id <> '';
CREATE INDEX ix_usage_provider ON usage(provider_id, created_at DESC);

CREATE TABLE usage_totals (
  id @I PRIMARY KEY CHECK (id = 1),
  total_requests @I NOT NULL DEFAULT 0,
  total_prompt_tokens @I NOT NULL DEFAULT 0,
  total_completion_tokens @I NOT NULL DEFAULT 0
)@S;

CREATE TABLE inference_routes (
  id @PK,
  request_id TEXT NOT NULL,
  attempt @I NOT NULL,
  provider_id TEXT NOT NULL DEFAULT '',
  model TEXT NOT NULL,
  public_model TEXT NOT NULL DEFAULT '',
  account_hash TEXT NOT NULL DEFAULT '',
  key_id TEXT NOT NULL DEFAULT '',
  outcome TEXT NOT NULL DEFAULT '',
  final_status TEXT NOT NULL DEFAULT '',
  error_code @I NOT NULL DEFAULT 0,
  error_class TEXT NOT NULL DEFAULT '',
  error_reason TEXT NOT NULL DEFAULT '',
  prompt_tokens @I NOT NULL DEFAULT 0,
  completion_tokens @I NOT NULL DEFAULT 0,
  cost_micro_usd @I NOT NULL DEFAULT 0,
  decision TEXT NOT NULL DEFAULT '{}',
  timing TEXT NOT NULL DEFAULT '{}',
  created_at @I NOT NULL,
  updated_at @I NOT NULL,
  UNIQUE (request_id, attempt)
)@S;
CREATE INDEX ix_routes_created ON inference_routes(created_at DESC);

CREATE TABLE request_rejections (
  id @PK,
  request_id TEXT NOT NULL DEFAULT '',
  endpoint TEXT NOT NULL,
  stage TEXT NOT NULL,
  reason_code TEXT NOT NULL,
  http_status @I NOT NULL,
  account_hash TEXT NOT NULL DEFAULT '',
  key_id TEXT NOT NULL DEFAULT '',
  requested_model TEXT NOT NULL DEFAULT '',
  resolved_model TEXT NOT NULL DEFAULT '',
  could_have_served @I,
  shortfall_micro_usd @I NOT NULL DEFAULT 0,
  detail TEXT NOT NULL DEFAULT '{}',
  created_at @I NOT NULL
)@S;
CREATE INDEX ix_rej_created ON request_rejections(created_at DESC);

CREATE TABLE request_profiles (
  id @PK,
  coord_request_id TEXT NOT NULL,
  request_id TEXT NOT NULL,
  attempt @I NOT NULL,
  backup_of @I,
  winning @I NOT NULL DEFAULT 0,
  endpoint TEXT NOT NULL DEFAULT '',
  stream @I NOT NULL DEFAULT 0,
  model TEXT NOT NULL DEFAULT '',
  provider_id TEXT NOT NULL DEFAULT '',
  provider_version TEXT NOT NULL DEFAULT '',
  provider_chip TEXT NOT NULL DEFAULT '',
  final_status TEXT NOT NULL DEFAULT '',
  error_reason TEXT NOT NULL DEFAULT '',
  terminal_cause TEXT NOT NULL DEFAULT '',
  client_outcome TEXT NOT NULL DEFAULT '',
  provider_outcome TEXT NOT NULL DEFAULT '',
  estimated_prompt_tokens @I,
  requested_max_tokens @I,
  has_tools @I NOT NULL DEFAULT 0,
  requires_vision @I NOT NULL DEFAULT 0,
  handler_entry_us @I,
  parsed_us @I,
  reserved_us @I,
  attempt_start_us @I,
  reserve_done_us @I,
  encrypted_us @I,
  write_submitted_us @I,
  write_dequeued_us @I,
  write_done_us @I,
  first_chunk_ingress_us @I,
  first_content_us @I,
  complete_ingress_us @I,
  headers_written_us @I,
  first_flush_us @I,
  done_flushed_us @I,
  finalized_us @I,
  chunks_in @I NOT NULL DEFAULT 0,
  chunks_out @I NOT NULL DEFAULT 0,
  bytes_out @I NOT NULL DEFAULT 0,
  decrypt_us_total @I NOT NULL DEFAULT 0,
  max_chunk_gap_us @I NOT NULL DEFAULT 0,
  attempts_total @I NOT NULL DEFAULT 1,
  failed_attempts_us @I NOT NULL DEFAULT 0,
  routing TEXT NOT NULL DEFAULT '{}',
  provider_profile TEXT,
  provider_profile_problem TEXT NOT NULL DEFAULT '',
  provider_total_us @I,
  created_at @I NOT NULL,
  UNIQUE (request_id, attempt)
)@S;
CREATE INDEX ix_profiles_created ON request_profiles(created_at DESC);
CREATE INDEX ix_profiles_request ON request_profiles(coord_request_id);

CREATE TABLE fleet_snapshots (
  id @PK,
  at @I NOT NULL,
  provider_id TEXT NOT NULL,
  model TEXT NOT NULL DEFAULT '',
  slot_state TEXT NOT NULL DEFAULT '',
  eligible @I NOT NULL DEFAULT 0,
  gate TEXT NOT NULL DEFAULT '',
  queue_depth @I NOT NULL DEFAULT 0,
  in_flight @I NOT NULL DEFAULT 0,
  detail TEXT NOT NULL DEFAULT '{}'
)@S;
CREATE INDEX ix_fleet_at ON fleet_snapshots(at DESC);
CREATE INDEX ix_fleet_provider ON fleet_snapshots(provider_id, at DESC);

CREATE TABLE telemetry_events (
  id TEXT PRIMARY KEY,
  ts @I NOT NULL,
  source TEXT NOT NULL,
  severity TEXT NOT NULL,
  kind TEXT NOT NULL,
  version TEXT NOT NULL DEFAULT '',
  machine_id TEXT NOT NULL DEFAULT '',
  account_id TEXT NOT NULL DEFAULT '',
  request_id TEXT NOT NULL DEFAULT '',
  session_id TEXT NOT NULL DEFAULT '',
  message TEXT NOT NULL,
  fields TEXT NOT NULL DEFAULT '{}',
  stack TEXT NOT NULL DEFAULT '',
  received_at @I NOT NULL
)@S;
CREATE INDEX ix_tel_recv ON telemetry_events(received_at);
"""),
)
