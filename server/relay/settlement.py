"""The one settlement of a request: what is told, and that it is told exactly once.

Invariant: for every request that entered the relay, `settle` is called exactly once, on every path out.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


class Outcome(Enum):
    """How a request ended; also the closed set of its metric label."""

    SUCCESS = "success"
    PARTIAL_SUCCESS = "partial_success"
    """The consumer left, or was too slow, after content; the provider told its usage in time."""
    CLIENT_ERROR = "client_error"
    RATE_LIMITED = "rate_limited"
    TIMEOUT = "timeout"
    PROVIDER_ERROR = "provider_error"
    CLIENT_GONE = "client_gone"
    INTERNAL_ERROR = "internal_error"


class BilledUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of the completion message; `completion_tokens` is cut to the bound that was dispatched."""

    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int = 0
    cached_tokens: int = 0


class SettlementRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All that money and statistics need of one request; it holds no content.

    `usage` is None when nothing may be charged: the hold is released as a whole. `job_id` is the last attempt, which is
    the winning one if there is usage. `delivered_deltas` and `delivered_text_bytes` were relayed to the consumer side
    and only cap what a provider may claim. Times are seconds of trio's clock.
    """

    coord_request_id: str
    job_id: str | None
    account_id: str | None
    key_id: str | None
    public_model: str
    build: str | None
    session_id: str | None
    provider_id: str | None
    provider_account_id: str | None
    stream: bool
    outcome: Outcome
    status: int
    """HTTP status, 499 for a consumer that left or was too slow."""
    usage: BilledUsage | None
    delivered_deltas: int
    delivered_text_bytes: int
    max_tokens: int
    attempts: int
    started_at: float
    ended_at: float
    segments: Mapping[str, int] | None


class Settlement(Protocol):
    """Whoever settles: releases or charges the hold of `coord_request_id`, records usage."""

    async def settle(self, record: SettlementRecord) -> None:
        """Settle one request; called once, shielded, with 30 s at most. Should be idempotent by id all the same."""
