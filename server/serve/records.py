"""Settings translated into the records of each room; the only place that knows both sides' names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.link import LinkSettings, WriterLimits
from server.listener import ListenerLimits
from server.media import MediaFetcher, MediaLimits
from server.pool import PoolPolicy
from server.registry import RoutingPolicy
from server.relay.chunk_queue import QueueBounds
from server.relay.clocks import RelayTimes
from server.relay.hedge import HedgePolicy
from server.relay.history import AttemptLimits
from server.trust import TrustPolicy

if TYPE_CHECKING:
    from server.config import CoordinatorSettings


def listener_limits(settings: CoordinatorSettings) -> ListenerLimits:
    """Return the listener's bounds."""
    return ListenerLimits(
        head_seconds=settings.head_timeout,
        idle_seconds=settings.keep_alive,
        write_deadline_seconds=settings.write_deadline,
        max_connections=settings.max_connections,
        max_connections_per_ip=settings.max_connections_per_ip,
    )


def link_settings(settings: CoordinatorSettings) -> LinkSettings:
    """Return the provider link's numbers."""
    return LinkSettings(
        max_message_bytes=settings.ws_max_inbound,
        register_seconds=settings.ws_register_timeout,
        ping_seconds=settings.ws_ping,
        pong_timeout_seconds=settings.ws_pong_timeout,
        stale_seconds=settings.stale_after,
        unregistered_per_ip=settings.max_sockets_per_ip,
        unregistered_total=settings.max_unregistered_sockets,
        registrations_per_minute=settings.registrations_per_minute,
        stray_cancel_seconds=settings.stray_cancel_every,
        stray_ids=settings.stray_max_ids,
        writer=WriterLimits(
            control_frames=settings.writer_control_queue,
            data_frames=settings.writer_data_queue,
            min_seconds=settings.writer_min,
            max_seconds=settings.writer_max,
            bytes_per_second=settings.writer_rate,
        ),
    )


def trust_policy(settings: CoordinatorSettings) -> TrustPolicy:
    """Return the trust rules."""
    return TrustPolicy(
        min_trust=settings.min_trust,
        allow_dev=settings.allow_dev_attestation,
        challenge_interval=settings.challenge_interval,
        challenge_timeout=settings.challenge_timeout,
        challenge_max_age=settings.challenge_max_age,
        failures_to_untrust=settings.max_failed_challenges,
        require_status_signature=settings.require_status_signature,
        accepted_backends=frozenset(settings.accepted_backends),
    )


def routing_policy(settings: CoordinatorSettings) -> RoutingPolicy:
    """Return the routing numbers."""
    return RoutingPolicy(
        min_trust=settings.min_trust,
        challenge_max_age=settings.challenge_max_age,
        prefill_decode_ratio=settings.prefill_decode_ratio,
        min_decode_tps=settings.min_decode_tps,
        cost_model=settings.cost_model,
        cache_routing=settings.cache_routing,
        cache_ttl=settings.cache_ttl,
        cache_max_ms=settings.cache_max_ms,
        cache_max_fraction=settings.cache_max_fraction,
        load_factor=settings.tps_load_factor,
        quality_cap=settings.quality_cap,
        overcommit=settings.quality_cap_overcommit,
        dedicated_models=settings.dedicated_models,
        reject_models=frozenset(settings.reject_models),
        queue_max_depth=settings.queue_max_depth,
        queue_max_wait=settings.queue_max_wait,
        queue_before_shed=settings.queue_before_shed,
        first_content_base_ms=settings.first_content_base * 1000,
        first_content_per_token_ms=settings.first_content_per_token * 1000,
        ttft_hard_reject=settings.ttft_hard_reject,
        servability_gate=settings.servability_gate,
    )


def relay_times(settings: CoordinatorSettings) -> RelayTimes:
    """Return the relay's limits of time."""
    return RelayTimes(
        first_content_base=settings.first_content_base,
        first_content_per_token=settings.first_content_per_token,
        chunk_gap=settings.chunk_gap_timeout,
        overflow_grace=settings.chunk_overflow_grace,
        park=settings.settle_grace,
        keep_alive=settings.stream_keep_alive,
    )


def queue_bounds(settings: CoordinatorSettings) -> QueueBounds:
    """Return the bounds of one consumer's queue."""
    return QueueBounds(
        chunks=settings.chunk_queue,
        bytes=settings.chunk_queue_bytes,
        spill_chunks=settings.chunk_spill,
        spill_bytes=settings.chunk_spill_bytes,
    )


def hedge_policy(settings: CoordinatorSettings) -> HedgePolicy | None:
    """Return the rules for second machines; None: there are none."""
    return HedgePolicy(at=settings.hedge_at, divisor=settings.hedge_budget_divisor) if settings.hedge else None


def pool_policy(settings: CoordinatorSettings) -> PoolPolicy:
    """Return the numbers of the warm pool."""
    return PoolPolicy(
        enabled=settings.warm_pool,
        observe_only=settings.warm_pool_observe_only,
        interval=settings.warm_pool_interval,
        min_dwell=settings.warm_pool_min_dwell,
        max_loads=settings.warm_pool_max_loads,
        ceiling=settings.warm_pool_ceiling,
        gap_fraction=settings.warm_pool_gap_fraction,
        max_pending=settings.warm_pool_max_pending,
        forecast=settings.warm_pool_forecast,
    )


def attempt_limits(settings: CoordinatorSettings) -> AttemptLimits:
    """Return how often one request may be tried."""
    return AttemptLimits(attempts=settings.max_attempts)


def media_fetcher(settings: CoordinatorSettings) -> MediaFetcher | None:
    """Make what fetches remote media; None where it is switched off."""
    if not settings.media_fetch:
        return None
    limits = MediaLimits(
        file_bytes=settings.media_fetch_max_file_bytes,
        total_bytes=settings.media_fetch_max_total_bytes,
        parts=settings.media_fetch_max_parts,
        fetch_seconds=settings.media_fetch_timeout,
        total_seconds=settings.media_fetch_total_deadline,
        concurrency=settings.media_fetch_concurrency,
        global_concurrency=settings.media_fetch_global_concurrency,
        megapixels=settings.media_fetch_max_image_megapixels,
    )
    return MediaFetcher(limits, blocked_domains=settings.media_blocked_domains)
