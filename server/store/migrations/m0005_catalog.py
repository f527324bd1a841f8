"""The model catalogue and the releases of the provider program."""

from __future__ import annotations

from typing import Final

from server.store.migration import Migration, statements

MIGRATION: Final = Migration(
    version=5,
    name="catalog",
    statements=statements("""
CREATE TABLE model_registry (
  id TEXT PRIMARY KEY,
  display_name TEXT NOT NULL,
  family TEXT NOT NULL DEFAULT '',
  architecture TEXT NOT NULL DEFAULT '',
  quantization TEXT NOT NULL DEFAULT '',
  max_context_length @I NOT NULL DEFAULT 0,
  max_output_length @I NOT NULL DEFAULT 0,
  min_ram_gb @I NOT NULL DEFAULT 0,
  capabilities TEXT NOT NULL DEFAULT '[]',
  status TEXT NOT NULL DEFAULT 'beta',
  description TEXT NOT NULL DEFAULT '',
  runtime_parameters TEXT NOT NULL DEFAULT '{}',
  metadata TEXT NOT NULL DEFAULT '{}',
  created_at @I NOT NULL,
  updated_at @I NOT NULL
)@S;

CREATE TABLE model_versions (
  id @PK,
  model_id TEXT NOT NULL REFERENCES model_registry(id) ON DELETE CASCADE,
  version TEXT NOT NULL,
  r2_prefix TEXT NOT NULL,
  aggregate_sha256 TEXT NOT NULL,
  total_size_bytes @I NOT NULL,
  file_count @I NOT NULL,
  status TEXT NOT NULL DEFAULT 'ready',
  uploaded_by TEXT NOT NULL DEFAULT '',
  uploaded_at @I NOT NULL,
  promoted_at @I,
  metadata TEXT NOT NULL DEFAULT '{}',
  UNIQUE (model_id, version)
)@S;

CREATE TABLE model_version_files (
  id @PK,
  model_version_id @I NOT NULL REFERENCES model_versions(id) ON DELETE CASCADE,
  path TEXT NOT NULL,
  size_bytes @I NOT NULL,
  sha256 TEXT NOT NULL,
  role TEXT NOT NULL,
  UNIQUE (model_version_id, path)
)@S;

CREATE TABLE model_active_versions (
  model_id TEXT PRIMARY KEY REFERENCES model_registry(id) ON DELETE CASCADE,
  model_version_id @I NOT NULL REFERENCES model_versions(id) ON DELETE RESTRICT,
  activated_at @I NOT NULL
)@S;

CREATE TABLE model_aliases (
  alias_id TEXT PRIMARY KEY,
  display_name TEXT NOT NULL DEFAULT '',
  desired_build TEXT NOT NULL,
  previous_build TEXT NOT NULL DEFAULT '',
  retired_builds TEXT NOT NULL DEFAULT '[]',
  active @I NOT NULL DEFAULT 1,
  created_at @I NOT NULL,
  updated_at @I NOT NULL
)@S;

CREATE TABLE releases (
  version TEXT NOT NULL,
  platform TEXT NOT NULL,
  backend TEXT NOT NULL DEFAULT '',
  binary_hash TEXT NOT NULL DEFAULT '',
  bundle_hash TEXT NOT NULL DEFAULT '',
  metallib_hash TEXT NOT NULL DEFAULT '',
  python_hash TEXT NOT NULL DEFAULT '',
  runtime_hash TEXT NOT NULL DEFAULT '',
  template_hashes TEXT NOT NULL DEFAULT '',
  url TEXT NOT NULL DEFAULT '',
  changelog TEXT NOT NULL DEFAULT '',
  active @I NOT NULL DEFAULT 1,
  registered_by TEXT NOT NULL DEFAULT '',
  approved_by TEXT NOT NULL DEFAULT '',
  log_seq @I,
  created_at @I NOT NULL,
  PRIMARY KEY (version, platform)
)@S;
"""),
)
