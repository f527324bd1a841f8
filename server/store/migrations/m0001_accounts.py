"""Named locks, people, sign-in, API keys, device login, invites and referrals.

Times are microseconds since the epoch; `*_hash` is a SHA-256 in lower-case hex; flags are 0 and 1.
"""

from __future__ import annotations

from typing import Final

from server.store.migration import Migration, statements

MIGRATION: Final = Migration(
    version=1,
    name="accounts",
    statements=statements("""
CREATE TABLE locks (
  name TEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  expires_at @I NOT NULL
)@S;

CREATE TABLE users (
  account_id TEXT PRIMARY KEY,
  privy_user_id TEXT NOT NULL UNIQUE,
  email TEXT NOT NULL DEFAULT '',
  email_norm TEXT NOT NULL DEFAULT '',
  email_checked_at @I,
  role TEXT NOT NULL DEFAULT '' CHECK (role IN ('','service')),
  is_admin @I NOT NULL DEFAULT 0 CHECK (is_admin IN (0, 1)),
  platform_fee_percent @I CHECK (platform_fee_percent BETWEEN 0 AND 100),
  stripe_account_id TEXT NOT NULL DEFAULT '',
  stripe_account_status TEXT NOT NULL DEFAULT '',
  stripe_account_country TEXT NOT NULL DEFAULT '',
  stripe_destination_type TEXT NOT NULL DEFAULT '',
  stripe_destination_last4 TEXT NOT NULL DEFAULT '',
  stripe_instant_eligible @I NOT NULL DEFAULT 0,
  deletion_requested_at @I,
  erase_after @I,
  erased_at @I,
  created_at @I NOT NULL,
  updated_at @I NOT NULL
)@S;
CREATE INDEX ix_users_email ON users(email_norm) WHERE email_norm <> '';
CREATE UNIQUE INDEX ux_users_stripe ON users(stripe_account_id) WHERE stripe_account_id <> '';
CREATE INDEX ix_users_erase ON users(erase_after) WHERE erase_after IS NOT NULL AND erased_at IS NULL;

CREATE TABLE erasure_outbox (
  account_id TEXT PRIMARY KEY,
  privy_user_id TEXT NOT NULL,
  attempts @I NOT NULL DEFAULT 0,
  next_at @I NOT NULL,
  created_at @I NOT NULL,
  done_at @I
)@S;

CREATE TABLE local_credentials (
  account_id TEXT PRIMARY KEY REFERENCES users(account_id) ON DELETE CASCADE,
  login_norm TEXT NOT NULL UNIQUE,
  password_hash TEXT NOT NULL,
  created_at @I NOT NULL,
  updated_at @I NOT NULL
)@S;

CREATE TABLE setup_tokens (
  token_hash TEXT PRIMARY KEY,
  created_at @I NOT NULL,
  expires_at @I NOT NULL,
  used_at @I,
  used_by TEXT NOT NULL DEFAULT ''
)@S;

CREATE TABLE signup_invites (
  code_hash TEXT PRIMARY KEY,
  label TEXT NOT NULL DEFAULT '',
  note TEXT NOT NULL DEFAULT '',
  max_uses @I NOT NULL DEFAULT 1 CHECK (max_uses >= 1),
  used_count @I NOT NULL DEFAULT 0,
  active @I NOT NULL DEFAULT 1,
  created_by TEXT NOT NULL DEFAULT '',
  created_at @I NOT NULL,
  expires_at @I,
  CHECK (used_count BETWEEN 0 AND max_uses)
)@S;

CREATE TABLE signup_invite_uses (
  code_hash TEXT NOT NULL REFERENCES signup_invites(code_hash),
  account_id TEXT NOT NULL,
  created_at @I NOT NULL,
  PRIMARY KEY (code_hash, account_id)
)@S;

CREATE TABLE web_sessions (
  token_hash TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  mode TEXT NOT NULL CHECK (mode IN ('local','key','privy','header')),
  key_id TEXT NOT NULL DEFAULT '',
  label TEXT NOT NULL DEFAULT '',
  scopes TEXT NOT NULL DEFAULT '[]',
  created_at @I NOT NULL,
  last_seen @I NOT NULL,
  expires_at @I NOT NULL,
  revoked_at @I
)@S;
CREATE INDEX ix_web_sessions_account ON web_sessions(account_id, created_at DESC);
CREATE INDEX ix_web_sessions_key ON web_sessions(key_id) WHERE key_id <> '';
CREATE INDEX ix_web_sessions_exp ON web_sessions(expires_at);

CREATE TABLE api_keys (
  id TEXT PRIMARY KEY,
  key_hash TEXT NOT NULL UNIQUE,
  owner_account_id TEXT NOT NULL DEFAULT '',
  name TEXT NOT NULL DEFAULT '',
  label TEXT NOT NULL DEFAULT '',
  disabled @I NOT NULL DEFAULT 0,
  limit_micro_usd @I CHECK (limit_micro_usd >= 0),
  limit_reset TEXT NOT NULL DEFAULT 'none' CHECK (limit_reset IN ('none','daily','weekly','monthly')),
  rpm_limit @I,
  itpm_limit @I,
  otpm_limit @I,
  allowed_models TEXT NOT NULL DEFAULT '[]',
  self_route_only @I NOT NULL DEFAULT 0,
  expires_at @I,
  revoked_at @I,
  created_at @I NOT NULL,
  last_used_at @I
)@S;
CREATE INDEX ix_api_keys_owner ON api_keys(owner_account_id, created_at DESC);

CREATE TABLE admin_keys (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  key_hash TEXT NOT NULL UNIQUE,
  scopes TEXT NOT NULL DEFAULT '[]',
  active @I NOT NULL DEFAULT 1,
  created_at @I NOT NULL,
  last_used_at @I
)@S;

CREATE TABLE publishing_api_keys (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  key_hash TEXT NOT NULL UNIQUE,
  active @I NOT NULL DEFAULT 1,
  created_at @I NOT NULL,
  last_used_at @I
)@S;

CREATE TABLE device_codes (
  device_code_hash TEXT PRIMARY KEY,
  user_code TEXT NOT NULL UNIQUE,
  account_id TEXT NOT NULL DEFAULT '',
  status TEXT NOT NULL CHECK (status IN ('pending','approved','denied','consumed')),
  client_label TEXT NOT NULL DEFAULT '',
  chip TEXT NOT NULL DEFAULT '',
  region TEXT NOT NULL DEFAULT '',
  last_polled_at @I,
  decided_at @I,
  expires_at @I NOT NULL,
  created_at @I NOT NULL
)@S;
CREATE INDEX ix_device_codes_exp ON device_codes(expires_at);

CREATE TABLE provider_tokens (
  token_hash TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  label TEXT NOT NULL DEFAULT '',
  active @I NOT NULL DEFAULT 1,
  created_at @I NOT NULL,
  last_used_at @I,
  revoked_at @I
)@S;
CREATE INDEX ix_provider_tokens_account ON provider_tokens(account_id);

CREATE TABLE invite_codes (
  code TEXT PRIMARY KEY,
  amount_micro_usd @I NOT NULL CHECK (amount_micro_usd > 0),
  max_uses @I NOT NULL DEFAULT 1 CHECK (max_uses >= 1),
  used_count @I NOT NULL DEFAULT 0,
  active @I NOT NULL DEFAULT 1,
  expires_at @I,
  created_at @I NOT NULL,
  CHECK (used_count BETWEEN 0 AND max_uses)
)@S;

CREATE TABLE invite_redemptions (
  code TEXT NOT NULL REFERENCES invite_codes(code),
  account_id TEXT NOT NULL,
  created_at @I NOT NULL,
  PRIMARY KEY (code, account_id)
)@S;

CREATE TABLE referrers (
  account_id TEXT PRIMARY KEY,
  code TEXT NOT NULL UNIQUE,
  created_at @I NOT NULL
)@S;

CREATE TABLE referrals (
  referred_account TEXT PRIMARY KEY,
  referrer_code TEXT NOT NULL REFERENCES referrers(code),
  created_at @I NOT NULL
)@S;
CREATE INDEX ix_referrals_code ON referrals(referrer_code);

CREATE TABLE admin_audit (
  id @PK,
  at @I NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  target TEXT NOT NULL DEFAULT '',
  before TEXT NOT NULL DEFAULT '{}',
  after TEXT NOT NULL DEFAULT '{}',
  outcome TEXT NOT NULL DEFAULT ''
)@S;
CREATE INDEX ix_admin_audit_at ON admin_audit(at DESC);
"""),
)
