"""Gauges that are read from the live components whenever somebody asks for metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeAlias

import trio

from server.registry import status

if TYPE_CHECKING:
    from server.listener import Listener
    from server.observe import Metrics, QueueingHandler
    from server.pool import PoolRunner, PoolSnapshot
    from server.registry import Registry
    from server.serve.drain import Drain

Samples: TypeAlias = "Iterable[tuple[tuple[str, ...], float]]"


_POOL: Final[tuple[tuple[str, str, Callable[[PoolSnapshot], int]], ...]] = (
    ("warm_machines", "Machines with the model loaded that may serve it.", lambda one: one.warm),
    ("target_machines", "Machines that the model should have loaded.", lambda one: one.target),
    (
        "foreseen_machines",
        "Machines that the model will need soon, judged by this hour of earlier weeks.",
        lambda one: one.foreseen,
    ),
    ("pending_loads", "Loads of the model under way.", lambda one: one.pending),
    (
        "cold_machines",
        "Machines that may load the model now; looked at under pressure only.",
        lambda one: one.eligible_cold,
    ),
)


def declare_gauges(metrics: Metrics, *, registry: Registry, drain: Drain, log: QueueingHandler | None) -> None:
    """Declare what can be read without being told: the fleet, the queues, the requests inside, lost log lines."""

    def providers() -> Samples:
        now = trio.current_time()
        return Counter((status(session, now), session.trust.level) for session in registry.sessions()).items()

    def slots() -> Samples:
        found: Counter[tuple[str, ...]] = Counter()
        for session in registry.trusted_sessions():
            for model, slot in session.slots.items():
                found[model, slot.state.value] += 1
        return found.items()

    def rows() -> Samples:
        running: Counter[tuple[str, ...]] = Counter()
        for session in registry.trusted_sessions():
            for model, slot in session.slots.items():
                running[model,] += slot.running
        return running.items()

    def models() -> set[str]:
        """Names that an unproven peer invented are no label values."""
        reported = {model for session in registry.trusted_sessions() for model in session.slots}
        return reported.union(registry.queued_models())

    reading = metrics.reading
    reading("darkbloom_providers", "Connected providers.", ("status", "trust_level"), providers)
    reading("darkbloom_provider_slots", "Model slots of connected providers.", ("model", "state"), slots)
    reading(
        "darkbloom_routing_providers",
        "Providers by the first gate against a small public request; `passed` where there is none.",
        ("model", "gate"),
        lambda: [((model, gate), float(count)) for model, gate, count in registry.gate_counts()],
    )
    reading("darkbloom_engine_rows", "Requests that providers report as running.", ("model",), rows)
    reading(
        "darkbloom_queue_depth",
        "Requests that wait for a provider.",
        ("model",),
        lambda: [((model,), registry.queue_depth(model)) for model in sorted(models())],
    )
    reading(
        "darkbloom_queue_oldest_age_seconds",
        "How long the oldest of them waits.",
        ("model",),
        lambda: [((model,), registry.queue_oldest_age(model, trio.current_time())) for model in sorted(models())],
    )
    reading("darkbloom_inflight_requests", "Inference requests inside.", (), lambda: [((), drain.inflight)])
    reading("darkbloom_draining", "1 while new inference is refused.", (), lambda: [((), float(drain.draining))])
    if log is not None:
        reading(
            "darkbloom_log_lines_dropped",
            "Log lines that were lost.",
            ("level",),
            lambda: [((level,), count) for level, count in sorted(log.dropped.items())],
        )


def declare_pool_gauges(metrics: Metrics, pool: PoolRunner) -> None:
    """Declare what the warm pool's last round saw of each model that is asked for."""

    def of_each(read: Callable[[PoolSnapshot], int]) -> Callable[[], Samples]:
        return lambda: [((one.model,), float(read(one))) for one in pool.snapshots]

    for name, meaning, read in _POOL:
        metrics.reading(f"darkbloom_pool_{name}", meaning, ("model",), of_each(read))


def declare_listener_gauges(metrics: Metrics, listener: Listener) -> None:
    """Declare what the listener knows."""
    metrics.reading("darkbloom_connections_open", "Open connections.", (), lambda: [((), listener.open_connections)])
    metrics.reading(
        "darkbloom_connections_refused",
        "Connections closed at once because there were too many.",
        (),
        lambda: [((), listener.refused_connections)],
    )
