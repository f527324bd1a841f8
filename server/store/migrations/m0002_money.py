"""Balances, the double-entry ledger, holds, prices, deposits, withdrawals, earnings.

Amounts are micro-USD and at most 2^53 - 1, so that JSON readers keep them exact.
"""

from __future__ import annotations

from typing import Final

from server.store.migration import Migration, statements

MIGRATION: Final = Migration(
    version=2,
    name="money",
    statements=statements("""
CREATE TABLE balances (
  account_id TEXT PRIMARY KEY,
  balance_micro_usd @I NOT NULL DEFAULT 0,
  withdrawable_micro_usd @I NOT NULL DEFAULT 0,
  held_micro_usd @I NOT NULL DEFAULT 0,
  held_withdrawable_micro_usd @I NOT NULL DEFAULT 0,
  updated_at @I NOT NULL,
  CHECK (balance_micro_usd BETWEEN 0 AND 9007199254740991),
  CHECK (withdrawable_micro_usd BETWEEN 0 AND balance_micro_usd),
  CHECK (held_withdrawable_micro_usd BETWEEN 0 AND withdrawable_micro_usd),
  CHECK (held_micro_usd - held_withdrawable_micro_usd BETWEEN 0 AND balance_micro_usd - withdrawable_micro_usd)
)@S;

CREATE TABLE ledger_txns (
  id @PK,
  kind TEXT NOT NULL,
  reference TEXT NOT NULL,
  created_at @I NOT NULL,
  UNIQUE (kind, reference)
)@S;

CREATE TABLE ledger_entries (
  id @PK,
  txn_id @I NOT NULL REFERENCES ledger_txns(id),
  account_id TEXT NOT NULL,
  entry_type TEXT NOT NULL,
  amount_micro_usd @I NOT NULL,
  withdrawable_delta_micro_usd @I NOT NULL DEFAULT 0,
  balance_after @I,
  reference TEXT NOT NULL DEFAULT '',
  created_at @I NOT NULL
)@S;
CREATE INDEX ix_ledger_account ON ledger_entries(account_id, id DESC);
CREATE INDEX ix_ledger_txn ON ledger_entries(txn_id);
CREATE INDEX ix_ledger_type ON ledger_entries(entry_type, created_at);

CREATE TABLE reservations (
  request_id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  key_id TEXT NOT NULL DEFAULT '',
  model TEXT NOT NULL DEFAULT '',
  amount_micro_usd @I NOT NULL CHECK (amount_micro_usd >= 0),
  withdrawable_micro_usd @I NOT NULL CHECK (withdrawable_micro_usd BETWEEN 0 AND amount_micro_usd),
  state TEXT NOT NULL CHECK (state IN ('held','settled','released')),
  reason TEXT NOT NULL DEFAULT '',
  instance_id TEXT NOT NULL DEFAULT '',
  settled_cost_micro_usd @I,
  created_at @I NOT NULL,
  expires_at @I NOT NULL,
  closed_at @I
)@S;
CREATE INDEX ix_res_open ON reservations(expires_at) WHERE state = 'held';
CREATE INDEX ix_res_key ON reservations(key_id) WHERE state = 'held';
CREATE INDEX ix_res_account ON reservations(account_id) WHERE state = 'held';
CREATE INDEX ix_res_closed ON reservations(closed_at) WHERE state <> 'held';

CREATE TABLE model_prices (
  account_id TEXT NOT NULL,
  model TEXT NOT NULL,
  input_price @I NOT NULL CHECK (input_price > 0),
  output_price @I NOT NULL CHECK (output_price > 0),
  cache_read_price @I CHECK (cache_read_price BETWEEN 0 AND input_price),
  updated_at @I NOT NULL,
  PRIMARY KEY (account_id, model)
)@S;

CREATE TABLE billing_sessions (
  id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  payment_method TEXT NOT NULL,
  amount_micro_usd @I NOT NULL,
  currency TEXT NOT NULL DEFAULT 'usd',
  external_id TEXT NOT NULL DEFAULT '',
  status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending','completed','expired','failed')),
  referral_code TEXT NOT NULL DEFAULT '',
  created_at @I NOT NULL,
  completed_at @I
)@S;
CREATE INDEX ix_billing_sessions_account ON billing_sessions(account_id, created_at DESC);
CREATE UNIQUE INDEX ux_billing_sessions_ext ON billing_sessions(external_id) WHERE external_id <> '';

CREATE TABLE stripe_events (
  event_id TEXT PRIMARY KEY,
  endpoint TEXT NOT NULL,
  type TEXT NOT NULL,
  stripe_account TEXT NOT NULL DEFAULT '',
  received_at @I NOT NULL,
  processed_at @I,
  outcome TEXT NOT NULL DEFAULT ''
)@S;
CREATE INDEX ix_stripe_events_received ON stripe_events(received_at);

CREATE TABLE stripe_withdrawals (
  id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  idempotency_key TEXT NOT NULL DEFAULT '',
  stripe_account_id TEXT NOT NULL,
  transfer_id TEXT NOT NULL DEFAULT '',
  payout_id TEXT NOT NULL DEFAULT '',
  sweep_payout_id TEXT NOT NULL DEFAULT '',
  amount_micro_usd @I NOT NULL,
  fee_micro_usd @I NOT NULL DEFAULT 0,
  net_micro_usd @I NOT NULL,
  net_cents @I NOT NULL,
  method TEXT NOT NULL CHECK (method IN ('standard','instant')),
  status TEXT NOT NULL CHECK (status IN ('pending','transferred','paid','failed')),
  failure_reason TEXT NOT NULL DEFAULT '',
  refunded @I NOT NULL DEFAULT 0,
  fee_refunded @I NOT NULL DEFAULT 0,
  attempts @I NOT NULL DEFAULT 0,
  needs_review @I NOT NULL DEFAULT 0,
  arrival_at @I,
  created_at @I NOT NULL,
  updated_at @I NOT NULL
)@S;
CREATE INDEX ix_sw_account ON stripe_withdrawals(account_id, created_at DESC);
CREATE INDEX ix_sw_status ON stripe_withdrawals(status, updated_at);
CREATE INDEX ix_sw_acct_status ON stripe_withdrawals(stripe_account_id, status);
CREATE UNIQUE INDEX ux_sw_transfer ON stripe_withdrawals(transfer_id) WHERE transfer_id <> '';
CREATE UNIQUE INDEX ux_sw_payout ON stripe_withdrawals(payout_id) WHERE payout_id <> '';
CREATE UNIQUE INDEX ux_sw_key ON stripe_withdrawals(account_id, idempotency_key) WHERE idempotency_key <> '';
CREATE INDEX ix_sw_sweep ON stripe_withdrawals(sweep_payout_id) WHERE sweep_payout_id <> '';

CREATE TABLE provider_earnings (
  id @PK,
  account_id TEXT NOT NULL,
  provider_id TEXT NOT NULL DEFAULT '',
  provider_key TEXT NOT NULL DEFAULT '',
  job_id TEXT NOT NULL,
  kind TEXT NOT NULL DEFAULT 'work' CHECK (kind IN ('work','base_reward')),
  model TEXT NOT NULL,
  amount_micro_usd @I NOT NULL,
  prompt_tokens @I NOT NULL DEFAULT 0,
  completion_tokens @I NOT NULL DEFAULT 0,
  created_at @I NOT NULL
)@S;
CREATE UNIQUE INDEX ux_earnings_job ON provider_earnings(job_id) WHERE job_id <> '';
CREATE INDEX ix_earnings_account ON provider_earnings(account_id, created_at DESC);
CREATE INDEX ix_earnings_key ON provider_earnings(provider_key, created_at DESC);

CREATE TABLE earnings_summary (
  key TEXT NOT NULL,
  key_type TEXT NOT NULL CHECK (key_type IN ('account','provider')),
  total_count @I NOT NULL DEFAULT 0,
  total_micro_usd @I NOT NULL DEFAULT 0,
  total_base_reward_micro_usd @I NOT NULL DEFAULT 0,
  total_prompt_tokens @I NOT NULL DEFAULT 0,
  total_completion_tokens @I NOT NULL DEFAULT 0,
  updated_at @I NOT NULL,
  PRIMARY KEY (key, key_type)
)@S;

CREATE TABLE provider_floor_draws (
  id @PK,
  provider_key TEXT NOT NULL,
  account_id TEXT NOT NULL,
  epoch_id TEXT NOT NULL,
  amount_micro_usd @I NOT NULL CHECK (amount_micro_usd >= 0),
  floor_micro_usd @I NOT NULL,
  earned_micro_usd @I NOT NULL,
  uptime_frac @R NOT NULL,
  memory_gb @I NOT NULL,
  created_at @I NOT NULL,
  UNIQUE (provider_key, epoch_id)
)@S;
CREATE INDEX ix_floor_epoch ON provider_floor_draws(epoch_id);
"""),
)
