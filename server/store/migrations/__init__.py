"""All migrations in the order in which they are applied."""

from __future__ import annotations

from typing import Final

from server.store.migration import Migration
from server.store.migrations import (
    m0001_accounts,
    m0002_money,
    m0003_requests,
    m0004_machines,
    m0005_catalog,
    m0006_trust,
    m0007_payout_reviews,
    m0008_ttft_ratios,
    m0009_suspensions,
    m0010_release_signatures,
    m0011_demand_profiles,
)

MIGRATIONS: Final[tuple[Migration, ...]] = (
    m0001_accounts.MIGRATION,
    m0002_money.MIGRATION,
    m0003_requests.MIGRATION,
    m0004_machines.MIGRATION,
    m0005_catalog.MIGRATION,
    m0006_trust.MIGRATION,
    m0007_payout_reviews.MIGRATION,
    m0008_ttft_ratios.MIGRATION,
    m0009_suspensions.MIGRATION,
    m0010_release_signatures.MIGRATION,
    m0011_demand_profiles.MIGRATION,
)
