"""Routing settings: one frozen record, built once by the coordinator's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.ports import TrustLevel


class RoutingPolicy(Struct, frozen=True, kw_only=True):
    """Numbers of routing, admission and queueing; durations in seconds unless the name says ms, rates in tokens/s."""

    min_trust: TrustLevel = "hardware"
    tools_min_version: str | None = None
    challenge_max_age: float = 960.0
    draining_expiry: float = 150.0
    load_factor: float = 0.39
    """k: how much one more request in a batch slows each of them."""
    prefill_decode_ratio: float = 12.0
    prefill_max_tps: float = 5_000.0
    cost_model: Literal["v1", "v2"] = "v2"
    expected_output: int = 256
    """Output tokens that cost v2 expects while nothing was seen of a model."""
    cache_routing: bool = True
    """Prefer machines that hold the beginning of a prompt."""
    cache_ttl: float = 600.0
    cache_max_ms: float = 5_000.0
    cache_max_fraction: float = 0.35
    """A cached beginning takes off at most this time to the first token, and this share of the cost."""
    min_decode_tps: float = 15.0
    quality_cap: bool = True
    overcommit: float = 1.2
    solo_seeds: Mapping[str, float] = {}
    dedicated_models: tuple[str, ...] = ()
    reject_models: frozenset[str] = frozenset()
    queue_max_depth: int = 32
    queue_max_wait: float = 120.0
    queue_global_max: int = 4_096
    queue_before_shed: bool = True
    first_content_base_ms: float = 5_000.0
    first_content_per_token_ms: float = 1.0
    ttft_hard_reject: bool = False
    servability_gate: bool = True
    context_overflow_status: int = 400
    """400 for direct API users; 429 for aggregators that count 4xx against a provider."""
    audit_after: float = 60.0

    def first_content_deadline_ms(self, prompt_tokens: int) -> float:
        """How long a client may wait for the first content of a warm model."""
        return self.first_content_base_ms + self.first_content_per_token_ms * prompt_tokens
