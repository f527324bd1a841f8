"""Figures of this moment for whoever reads them: the gauges of the metrics, the telemetry of heartbeats."""

from protocol.messages.from_provider import CapacityTelemetry
from provider.daemon.control import DaemonControl
from provider.daemon.parts import Parts
from provider.daemon.reports import build_telemetry
from provider.engine import Health
from provider.observe.metrics import ProviderMetrics
from provider.requests import RequestDesk


def fill_gauges(metrics: ProviderMetrics, parts: Parts, control: DaemonControl) -> None:
    """Write what is true now."""
    snapshot, reading = parts.engine.snapshot(), parts.gate.read()
    weights = sum(slot.weight_bytes for slot in snapshot.slots)
    metrics.set_gauge("weights_bytes", weights)
    metrics.set_gauge("kv_bytes", max(0, reading.active - weights))
    metrics.set_gauge("memory_peak_bytes", reading.peak)
    metrics.set_gauge("inflight_requests", control.in_flight)
    metrics.set_gauge("connected", control.status.connected)
    metrics.set_total("ws_reconnects", control.status.reconnects)
    metrics.set_total("engine_faults", snapshot.faults)
    metrics.set_gauge("engine_good", parts.engine.health is Health.GOOD)
    for name in ("batch_rows", "waiting_rows", "decode_tokens_per_second", "model_load_seconds"):
        metrics.forget_models(name)
    for slot in snapshot.slots:
        metrics.set_gauge("batch_rows", slot.running, slot.model)
        metrics.set_gauge("waiting_rows", slot.waiting, slot.model)
        metrics.set_gauge("model_load_seconds", slot.load_time_ms / 1000, slot.model)
        if slot.decode_tps is not None:
            metrics.set_gauge("decode_tokens_per_second", slot.decode_tps, slot.model)


def measure_telemetry(parts: Parts, desk: RequestDesk) -> CapacityTelemetry:
    """Say how the machine is, and where its requests are."""
    return build_telemetry(
        pressure=parts.upkeep.pressure,
        low_power=parts.upkeep.low_power,
        received=desk.live,
        in_engine=sum(slot.running for slot in parts.engine.snapshot().slots),
        admitted=desk.in_flight,
    )
