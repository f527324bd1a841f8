"""SQL of the tables `providers` and `provider_reputation`, as functions of a transaction.

`id` is the machine's stable identity. A stored trust level is history and grants nothing. Counts that fade are kept as
whole numbers in `provider_reputation`; the exact ones, and learnt speeds, lie in `lifetime_stats` (JSON).
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

import msgspec

from server.registry.machines import LearntSpeed, MachineRecord
from server.registry.reputation import Counts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from server.store import Tx
    from server.store.engine import Row

_SECOND: Final = 1_000_000


class _Stats(msgspec.Struct):
    """What `lifetime_stats` holds."""

    counts: Counts = msgspec.field(default_factory=Counts)
    totals: dict[str, int] = msgspec.field(default_factory=dict)
    speeds: dict[str, LearntSpeed] = msgspec.field(default_factory=dict)


_STATS: Final = msgspec.json.Decoder(_Stats)


async def write_machines(tx: Tx, records: Iterable[MachineRecord]) -> None:
    """Insert or replace what routing knows of these machines; everything else in their rows stays."""
    for record in records:
        hardware = {"chip": record.chip, "machine_model": record.machine_model, "memory_gb": record.memory_gb}
        stats = _Stats(record.counts, record.totals, record.speeds)
        await tx.execute(
            "INSERT INTO providers (id, account_id, public_key, backend, version, hardware, models, trust_level,"
            " attested, lifetime_requests_served, lifetime_tokens_generated, lifetime_stats, registered_at, last_seen)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
            " ON CONFLICT (id) DO UPDATE SET account_id = excluded.account_id, public_key = excluded.public_key,"
            " backend = excluded.backend, version = excluded.version, hardware = excluded.hardware,"
            " models = excluded.models, trust_level = excluded.trust_level, attested = excluded.attested,"
            " lifetime_requests_served = excluded.lifetime_requests_served,"
            " lifetime_tokens_generated = excluded.lifetime_tokens_generated,"
            " lifetime_stats = excluded.lifetime_stats, last_seen = excluded.last_seen",
            record.stable_id,
            record.account_id,
            base64.b64encode(record.public_key).decode(),
            record.backend,
            record.version,
            _text(hardware),
            _text(record.models),
            record.trust_level,
            int(record.trust_level != "none"),
            record.totals.get("requests_served", 0),
            record.totals.get("tokens_generated", 0),
            _text(stats),
            round(record.first_seen * _SECOND),
            round(record.last_seen * _SECOND),
        )
        await tx.execute(
            "INSERT INTO provider_reputation (provider_id, total_jobs, successful_jobs, failed_jobs,"
            " total_uptime_seconds, avg_response_time_ms, challenges_passed, challenges_failed, updated_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
            " ON CONFLICT (provider_id) DO UPDATE SET total_jobs = excluded.total_jobs,"
            " successful_jobs = excluded.successful_jobs, failed_jobs = excluded.failed_jobs,"
            " total_uptime_seconds = excluded.total_uptime_seconds,"
            " avg_response_time_ms = excluded.avg_response_time_ms,"
            " challenges_passed = excluded.challenges_passed, challenges_failed = excluded.challenges_failed,"
            " updated_at = excluded.updated_at",
            record.stable_id,
            record.jobs_ok + record.jobs_failed,
            record.jobs_ok,
            record.jobs_failed,
            round(record.counts.uptime_seconds),
            round(record.counts.latency_ms),
            record.checks_passed,
            record.checks_failed,
            round(record.last_seen * _SECOND),
        )


async def read_machines(tx: Tx, limit: int) -> list[MachineRecord]:
    """Read the machines that were seen last; a row that cannot be read is left out."""
    rows = await tx.fetch(
        "SELECT p.id, p.account_id, p.public_key, p.backend, p.version, p.hardware, p.trust_level, p.lifetime_stats,"
        " p.registered_at, p.last_seen, r.successful_jobs, r.failed_jobs, r.challenges_passed, r.challenges_failed"
        " FROM providers p LEFT JOIN provider_reputation r ON r.provider_id = p.id"
        " ORDER BY p.last_seen DESC, p.id DESC LIMIT $1",
        limit,
    )
    return [record for row in rows if (record := _record(row)) is not None]


def _record(row: Row) -> MachineRecord | None:
    try:
        stats = _STATS.decode(str(row["lifetime_stats"] or "{}"))
        public_key = base64.b64decode(str(row["public_key"]), validate=True)
    except (msgspec.MsgspecError, ValueError):
        return None
    return MachineRecord(
        stable_id=str(row["id"]),
        account_id=str(row["account_id"]),
        public_key=public_key,
        backend=str(row["backend"]),
        version=str(row["version"]),
        trust_level=str(row["trust_level"]),
        counts=stats.counts,
        jobs_ok=_number(row, "successful_jobs"),
        jobs_failed=_number(row, "failed_jobs"),
        checks_passed=_number(row, "challenges_passed"),
        checks_failed=_number(row, "challenges_failed"),
        totals=stats.totals,
        speeds=stats.speeds,
        first_seen=_number(row, "registered_at") / _SECOND,
        last_seen=_number(row, "last_seen") / _SECOND,
    )


def _number(row: Row, name: str) -> int:
    found = row[name]
    return found if isinstance(found, int) else 0


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
