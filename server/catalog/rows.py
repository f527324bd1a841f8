"""The rows of models, versions and their files, as functions of a transaction.

Invariant: a version is immutable: its row and its files are written once, together, and never changed.
Invariant: a model's row is never deleted; what was in the catalogue once must not become "unknown, hence anything".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import msgspec

from protocol.manifest import SCHEMA_VERSION, Manifest, ManifestFile
from server.catalog.records import CatalogModel, ModelFacts, Version

if TYPE_CHECKING:
    from protocol.weight_hash import FileRole
    from server.store import Row, Tx

_IN_METADATA: Final = ("model_type", "hugging_face_id", "deprecation_date", "reasoning_opt_in")
_MODEL: Final = (
    "m.id, m.display_name, m.family, m.architecture, m.quantization, m.max_context_length, m.max_output_length, "
    "m.min_ram_gb, m.capabilities, m.status, m.description, m.runtime_parameters, m.metadata, m.created_at, "
    "m.updated_at"
)
_VERSION: Final = (
    "v.version, v.r2_prefix, v.aggregate_sha256, v.total_size_bytes, v.file_count, v.uploaded_by, v.uploaded_at"
)


async def read_models(tx: Tx) -> list[CatalogModel]:
    """All models, retired ones too, by id, each with its active version."""
    rows = await tx.fetch(
        f"SELECT {_MODEL}, {_VERSION} FROM model_registry m"
        " LEFT JOIN model_active_versions a ON a.model_id = m.id"
        " LEFT JOIN model_versions v ON v.id = a.model_version_id"
    )
    # Sorted here: engines differ in the order of letters.
    return sorted((_model(row) for row in rows), key=lambda model: model.id)


async def read_model(tx: Tx, model_id: str) -> CatalogModel | None:
    """One model with its active version."""
    row = await tx.row(
        f"SELECT {_MODEL}, {_VERSION} FROM model_registry m"
        " LEFT JOIN model_active_versions a ON a.model_id = m.id"
        " LEFT JOIN model_versions v ON v.id = a.model_version_id WHERE m.id = $1",
        model_id,
    )
    return None if row is None else _model(row)


async def write_facts(tx: Tx, model_id: str, facts: ModelFacts, now: int) -> None:
    """Insert or replace what is said of a model."""
    await tx.execute(
        "INSERT INTO model_registry (id, display_name, family, architecture, quantization, max_context_length,"
        " max_output_length, min_ram_gb, capabilities, status, description, runtime_parameters, metadata, created_at,"
        " updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14)"
        " ON CONFLICT (id) DO UPDATE SET display_name = excluded.display_name, family = excluded.family,"
        " architecture = excluded.architecture, quantization = excluded.quantization,"
        " max_context_length = excluded.max_context_length, max_output_length = excluded.max_output_length,"
        " min_ram_gb = excluded.min_ram_gb, capabilities = excluded.capabilities, status = excluded.status,"
        " description = excluded.description, runtime_parameters = excluded.runtime_parameters,"
        " metadata = excluded.metadata, updated_at = excluded.updated_at",
        model_id,
        facts.display_name,
        facts.family,
        facts.architecture,
        facts.quantization,
        facts.max_context_length,
        facts.max_output_length,
        facts.min_ram_gb,
        _json(facts.capabilities),
        facts.status,
        facts.description,
        _json(facts.runtime_parameters),
        _json({name: getattr(facts, name) for name in _IN_METADATA}),
        now,
    )


async def versions_of(tx: Tx, model_id: str | None = None) -> dict[str, list[Version]]:
    """All versions, of one model or of every one, newest first, by model."""
    only = "" if model_id is None else " WHERE v.model_id = $1"
    rows = await tx.fetch(
        f"SELECT v.model_id, {_VERSION} FROM model_versions v{only} ORDER BY v.id DESC",
        *(() if model_id is None else (model_id,)),
    )
    found: dict[str, list[Version]] = {}
    for row in rows:
        found.setdefault(cast(str, row["model_id"]), []).append(_version(row))
    return found


async def version_key(tx: Tx, model_id: str, version: str) -> int | None:
    """The row id of a version."""
    found = await tx.value("SELECT id FROM model_versions WHERE model_id = $1 AND version = $2", model_id, version)
    return cast("int | None", found)


async def insert_version(tx: Tx, manifest: Manifest, *, uploaded_by: str, now: int) -> int:
    """Write a checked manifest; give the row id. The model's row must be there and the version must not."""
    key = await tx.value(
        "INSERT INTO model_versions (model_id, version, r2_prefix, aggregate_sha256, total_size_bytes, file_count,"
        " uploaded_by, uploaded_at, metadata) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id",
        manifest.model_id,
        manifest.version,
        manifest.r2_prefix,
        manifest.aggregate_sha256,
        manifest.total_size_bytes,
        manifest.file_count,
        uploaded_by,
        now,
        _json({"created_at": manifest.created_at}),
    )
    for file in manifest.files:
        await tx.execute(
            "INSERT INTO model_version_files (model_version_id, path, size_bytes, sha256, role)"
            " VALUES ($1, $2, $3, $4, $5)",
            cast(int, key),
            file.path,
            file.size_bytes,
            file.sha256,
            file.role,
        )
    return cast(int, key)


async def activate(tx: Tx, model_id: str, key: int, now: int) -> None:
    """Let a version be the one that is served."""
    await tx.execute(
        "INSERT INTO model_active_versions (model_id, model_version_id, activated_at) VALUES ($1, $2, $3)"
        " ON CONFLICT (model_id) DO UPDATE SET model_version_id = excluded.model_version_id,"
        " activated_at = excluded.activated_at",
        model_id,
        key,
        now,
    )
    await tx.execute("UPDATE model_versions SET promoted_at = $2 WHERE id = $1", key, now)
    await tx.execute("UPDATE model_registry SET updated_at = $2 WHERE id = $1", model_id, now)


async def read_manifest(tx: Tx, model_id: str, version: str | None = None) -> Manifest | None:
    """The manifest of a version, of the active one unless it is named."""
    which = (
        "JOIN model_active_versions a ON a.model_version_id = v.id WHERE v.model_id = $1"
        if version is None
        else "WHERE v.model_id = $1 AND v.version = $2"
    )
    row = await tx.row(
        f"SELECT v.id, v.metadata, {_VERSION} FROM model_versions v {which}",
        model_id,
        *(() if version is None else (version,)),
    )
    if row is None:
        return None
    files = await tx.fetch(
        "SELECT path, size_bytes, sha256, role FROM model_version_files WHERE model_version_id = $1 ORDER BY id",
        row["id"],
    )
    found = _version(row)
    created: dict[str, str] = msgspec.json.decode(cast(str, row["metadata"]))
    return Manifest(
        schema_version=SCHEMA_VERSION,
        model_id=model_id,
        version=found.version,
        r2_prefix=found.r2_prefix,
        aggregate_sha256=found.aggregate_sha256,
        total_size_bytes=found.total_size_bytes,
        file_count=found.file_count,
        files=tuple(
            ManifestFile(
                path=cast(str, file["path"]),
                size_bytes=cast(int, file["size_bytes"]),
                sha256=cast(str, file["sha256"]),
                role=cast("FileRole", file["role"]),
            )
            for file in files
        ),
        created_at=created.get("created_at", ""),
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _model(row: Row) -> CatalogModel:
    more: dict[str, object] = msgspec.json.decode(cast(str, row["metadata"]))
    columns = [name for name in ModelFacts.__struct_fields__ if name in row and name not in _IN_METADATA]
    facts: dict[str, object] = {name: row[name] for name in columns}
    facts |= {name: more[name] for name in _IN_METADATA if name in more}
    facts["capabilities"] = msgspec.json.decode(cast(str, row["capabilities"]))
    facts["runtime_parameters"] = msgspec.json.decode(cast(str, row["runtime_parameters"]))
    return CatalogModel(
        id=cast(str, row["id"]),
        facts=msgspec.convert(facts, ModelFacts),
        version=None if row["version"] is None else _version(row),
        created_at=cast(int, row["created_at"]),
        updated_at=cast(int, row["updated_at"]),
    )


def _version(row: Row) -> Version:
    return Version(
        version=cast(str, row["version"]),
        r2_prefix=cast(str, row["r2_prefix"]),
        aggregate_sha256=cast(str, row["aggregate_sha256"]),
        total_size_bytes=cast(int, row["total_size_bytes"]),
        file_count=cast(int, row["file_count"]),
        uploaded_by=cast(str, row["uploaded_by"]),
        uploaded_at=cast(int, row["uploaded_at"]),
    )
