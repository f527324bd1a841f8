"""Registration and heartbeats become the one state record (acceptance 1)."""

from __future__ import annotations

import math

import pytest

from protocol.messages.from_provider import (
    Hardware,
    LoadModelStatus,
    ModelEntry,
    ModelsUpdate,
    RegisterExtension,
    SystemMetrics,
)
from server.registry import CatalogEntry, LoadCause, Reason, RoutingPolicy, current_model, status, warm_models
from server.registry.clamps import clamp, clamp_int, measured
from server.registry.loads import LoadOutcome
from server.registry.report import counter_delta
from server.registry.state import SlotSource, SlotState
from tests.unit.server.registry.fleet import Fleet, register_message, request, wire_slot


@pytest.mark.parametrize(
    ("value", "low", "high", "kept"),
    [(0.5, 0, 1, 0.5), (2, 0, 1, 1), (-1, 0, 1, 0), (math.nan, 0, 1, 0), (math.inf, 0, 1, 0), (None, 0, 1, 0)],
)
def test_clamp_bounds_and_reads_nonsense_as_low(value: float | None, low: float, high: float, kept: float) -> None:
    assert clamp(value, low, high) == kept


def test_clamp_int_and_measured() -> None:
    assert [clamp_int(value, 24) for value in (-3, 0, 7, 99)] == [0, 0, 7, 24]
    assert [measured(value, 20_000) for value in (None, -1, 300, 20_001, math.nan)] == [0, 0, 300, 0, 0]


def test_register_clamps_self_reported_numbers(fleet: Fleet) -> None:
    message = register_message(
        decode_tps=1e9, prefill_tps=1e9, hardware=Hardware(memory_gb=-5, memory_bandwidth_gbs=9_000.0)
    )
    caps = fleet.connect("a", message=message).caps
    assert (caps.decode_tps, caps.prefill_tps) == (500, 20_000)
    assert (caps.hardware.memory_gb, caps.hardware.memory_bandwidth_gbs) == (0, 2_000)


def test_register_with_short_key_stays_but_never_gets_private_text(fleet: Fleet) -> None:
    session = fleet.warm("a", public_key=bytes(31))
    assert session.caps.public_key == b""
    decision = fleet.registry.choose_and_reserve(request(), fleet.now)
    assert decision.reservation is None
    assert decision.rejections == {Reason.PRIVATE_TEXT: 1}


def test_register_drops_model_with_contradicting_hash() -> None:
    fleet = Fleet(catalog=[CatalogEntry(id="m", weight_hash="H"), CatalogEntry(id="n")])
    models = (ModelEntry(id="m", weight_hash="X"), ModelEntry(id="n"), ModelEntry(id="unknown"))
    session = fleet.connect("a", message=register_message(*models))
    assert set(session.caps.models) == {"n"}


def test_register_keeps_the_first_of_duplicate_models(fleet: Fleet) -> None:
    models = (ModelEntry(id="m", size_bytes=1), ModelEntry(id="m", size_bytes=2), ModelEntry(id=""))
    session = fleet.connect("a", message=register_message(*models))
    assert [ad.size_bytes for ad in session.caps.models.values()] == [1]


def test_register_same_session_twice_is_an_error(fleet: Fleet) -> None:
    fleet.connect("a")
    with pytest.raises(ValueError, match="'a' is registered already"):
        fleet.connect("a")


@pytest.mark.parametrize(("backend", "features", "ok"), [("mlx-swift", (), False), ("mlx-python", ("tools",), True)])
def test_tool_floor_counts_reference_versions_only(backend: str, features: tuple[str, ...], ok: bool) -> None:
    fleet = Fleet(policy=RoutingPolicy(tools_min_version="0.7.0"))
    extension = RegisterExtension(features=features)
    session = fleet.connect("a", message=register_message(backend=backend, version="0.6.9", darkbloom=extension))
    assert session.caps.tools_ok is ok


@pytest.mark.parametrize(("version", "private"), [("0.7.4", False), ("0.7.5", True), ("", False)])
def test_private_grants_follow_the_reference_version(fleet: Fleet, version: str, private: bool) -> None:
    assert fleet.connect("a", message=register_message(version=version)).caps.private_grants is private


def test_counters_merge_over_a_restart(fleet: Fleet) -> None:
    session = fleet.connect("a")
    seen = []
    for value in (100, 140, 5):
        fleet.beat("a", stats=(value, 0))
        seen.append(session.totals["requests_served"])
    assert seen == [100, 140, 145]


def test_counter_deltas() -> None:
    pairs = [(10, 0), (15, 10), (3, 15), (4, 3), (0, 4), (-1, 4)]
    assert [counter_delta(now, before) for now, before in pairs] == [10, 5, 3, 1, 0, 0]


def test_legacy_warm_list_always_overwrites(fleet: Fleet) -> None:
    session = fleet.connect("a")
    fleet.beat("a", capacity=False, warm_models=("m",))
    assert warm_models(session) == ("m",)
    fleet.beat("a", capacity=False, warm_models=())
    assert warm_models(session) == ()
    fleet.beat("a", capacity=False, warm_models=("m",))
    fleet.beat("a", capacity=False)
    assert warm_models(session) == ()


def test_legacy_active_model_is_resident_and_running(fleet: Fleet) -> None:
    session = fleet.connect("a", message=register_message(ModelEntry(id="m"), ModelEntry(id="n")))
    fleet.beat("a", capacity=False, warm_models=("n",), active_model="m", status="serving")
    assert set(warm_models(session)) == {"m", "n"}
    assert (session.slot("m").running, session.slot("n").running) == (1, 0)
    assert session.slot("m").source is SlotSource.LEGACY
    assert current_model(session) == "m"


def test_capacity_report_outranks_warm_models(fleet: Fleet) -> None:
    session = fleet.connect("a", message=register_message(ModelEntry(id="m"), ModelEntry(id="n")))
    fleet.beat("a", wire_slot("m", "idle"), warm_models=("n",), active_model="n")
    assert warm_models(session) == ("m",)


def test_capacity_report_that_vanishes_makes_the_provider_legacy(fleet: Fleet) -> None:
    session = fleet.connect("a")
    fleet.beat("a", wire_slot(active_token_budget_max=5_000))
    fleet.beat("a", capacity=False)
    assert session.slots == {}
    assert not session.live.has_capacity


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("running", SlotState.RESIDENT),
        ("idle", SlotState.RESIDENT),
        ("idle_shutdown", SlotState.EVICTED),
        ("reloading", SlotState.LOADING),
        ("crashed", SlotState.CRASHED),
        ("whatever", SlotState.ABSENT),
    ],
)
def test_slot_states(fleet: Fleet, text: str, state: SlotState) -> None:
    session = fleet.connect("a")
    fleet.beat("a", wire_slot("m", text))
    assert session.slot("m").state is state


def test_slots_unknown_model_dropped_and_first_duplicate_kept(fleet: Fleet) -> None:
    session = fleet.connect("a")
    fleet.beat("a", wire_slot("x"), wire_slot("m", num_running=1), wire_slot("m", num_running=2))
    assert list(session.slots) == ["m"]
    assert session.slot("m").running == 1


def test_slot_numbers_are_clamped(fleet: Fleet) -> None:
    session = fleet.connect("a")
    fleet.beat(
        "a",
        wire_slot(
            num_running=-1,
            num_waiting=-2,
            max_concurrency=99,
            max_tokens_potential=2_000_000,
            observed_decode_tps=900.0,
            observed_prefill_tps=20_001.0,
            active_token_budget_max=10**12,
            active_token_budget_used=-4,
            model_load_time_ms=10**9,
        ),
    )
    slot = session.slot("m")
    assert (slot.running, slot.waiting, slot.max_concurrency) == (0, 0, 24)
    assert (slot.potential, slot.tps_decode, slot.tps_prefill, slot.load_time_ms) == (1_000_000, 500, 0, 3_600_000)
    assert slot.budget is not None
    assert (slot.budget.max, slot.budget.used) == (10**10, 0)


@pytest.mark.parametrize(("sent", "kept"), [(0.0, 0.0), (None, None), (-1.0, None), (1_025.0, None), (math.inf, None)])
def test_free_for_load_zero_is_a_real_answer(fleet: Fleet, sent: float | None, kept: float | None) -> None:
    session = fleet.connect("a")
    fleet.beat("a", free_for_load=sent)
    assert session.live.free_for_load_gb == kept


@pytest.mark.parametrize("seq", [6, 7])
def test_older_capacity_sequence_refreshes_liveness_only(fleet: Fleet, seq: int) -> None:
    session = fleet.connect("a")
    fleet.beat("a", wire_slot(num_running=7), seq=7)
    fleet.clock.now += 5
    fleet.beat("a", wire_slot(num_running=1), seq=seq)
    assert session.slot("m").running == 7
    assert session.live.last_heartbeat == fleet.now


def test_metrics_are_clamped_and_unknown_thermal_is_nominal(fleet: Fleet) -> None:
    session = fleet.connect("a")
    fleet.beat("a", system_metrics=SystemMetrics(memory_pressure=3.0, cpu_usage=-1.0, thermal_state="volcanic"))
    assert (session.live.memory_pressure, session.live.cpu_usage, session.live.thermal) == (1.0, 0.0, "nominal")


def test_uptime_counts_short_gaps_only(fleet: Fleet) -> None:
    session = fleet.connect("a")
    for gap in (30, 120, 121):
        fleet.clock.now += gap
        fleet.beat("a")
    assert session.live.uptime_seconds == 150


def test_draining_until_next_ordinary_heartbeat_or_expiry(fleet: Fleet) -> None:
    session = fleet.connect("a")
    fleet.beat("a", status="draining")
    assert status(session, fleet.now + 149) == "draining"
    assert status(session, fleet.now + 151) == "online"
    fleet.beat("a", status="something else")
    assert status(session, fleet.now) == "draining"
    fleet.beat("a", status="idle")
    assert status(session, fleet.now) == "online"


def test_heartbeat_of_unknown_session_is_dropped(fleet: Fleet) -> None:
    assert fleet.beat("nobody") is False


def test_unsolicited_load_status_changes_nothing(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    session = fleet.connect("a")
    message = LoadModelStatus(model_id="m", status="succeeded")
    assert fleet.registry.load_model_status("a", message, fleet.now) is LoadOutcome.IGNORED
    assert session.slots == {}
    assert "load_status_unsolicited" in caplog.text


def test_acknowledged_load_is_resident_until_the_next_report(fleet: Fleet) -> None:
    session = fleet.connect("a")
    assert fleet.registry.request_load("a", "m", LoadCause.MANUAL, fleet.now)
    assert not fleet.registry.request_load("a", "m", LoadCause.MANUAL, fleet.now)
    fleet.registry.load_model_status("a", LoadModelStatus(model_id="m", status="started"), fleet.now)
    fleet.clock.now += 300
    fleet.registry.load_model_status("a", LoadModelStatus(model_id="m", status="succeeded"), fleet.now)
    assert session.slot("m").source is SlotSource.LOAD_ACK
    assert warm_models(session) == ("m",)
    assert session.loads == {}
    fleet.beat("a")
    assert warm_models(session) == ()


def test_one_load_at_a_time(fleet: Fleet) -> None:
    fleet.connect("a", message=register_message(ModelEntry(id="m"), ModelEntry(id="n")))
    assert fleet.registry.request_load("a", "m", LoadCause.MANUAL, fleet.now)
    assert not fleet.registry.request_load("a", "n", LoadCause.MANUAL, fleet.now)
    assert not fleet.registry.request_load("a", "not offered", LoadCause.MANUAL, fleet.now + 121)
    assert fleet.registry.request_load("a", "n", LoadCause.MANUAL, fleet.now + 121)


def test_failed_load_backs_off_for_half_a_minute(fleet: Fleet) -> None:
    fleet.connect("a")
    fleet.registry.request_load("a", "m", LoadCause.QUEUE, fleet.now)
    status_message = LoadModelStatus(model_id="m", status="failed", error="insufficient memory")
    assert fleet.registry.load_model_status("a", status_message, fleet.now) is LoadOutcome.FAILED
    assert not fleet.registry.request_load("a", "m", LoadCause.QUEUE, fleet.now + 29)
    assert fleet.registry.request_load("a", "m", LoadCause.QUEUE, fleet.now + 30)


def test_models_update_replaces_the_inventory(fleet: Fleet) -> None:
    session = fleet.warm("a")
    fleet.registry.models_update("a", ModelsUpdate(models=(ModelEntry(id="n"),)), fleet.now)
    assert set(session.caps.models) == {"n"}
    assert session.slots == {}
    assert fleet.registry.choose_and_reserve(request(), fleet.now).scanned == 0
    assert fleet.registry.choose_and_reserve(request(2, model="n"), fleet.now).scanned == 1


def test_the_same_report_after_an_acknowledged_load_counts_again(fleet: Fleet) -> None:
    session = fleet.connect("a")
    report = (wire_slot(state="idle_shutdown"),)
    fleet.beat("a", *report)
    assert fleet.registry.request_load("a", "m", LoadCause.MANUAL, fleet.now)
    fleet.clock.now += 1
    fleet.registry.load_model_status("a", LoadModelStatus(model_id="m", status="succeeded"), fleet.now)
    assert warm_models(session) == ("m",)
    fleet.beat("a", *report)
    assert session.slot("m").state is SlotState.EVICTED


def test_a_report_of_the_same_moment_outranks_an_acknowledged_load(fleet: Fleet) -> None:
    session = fleet.connect("a")
    for _ in range(2):
        fleet.beat("a", wire_slot(state="idle_shutdown"))
        assert fleet.registry.request_load("a", "m", LoadCause.MANUAL, fleet.now)
        fleet.registry.load_model_status("a", LoadModelStatus(model_id="m", status="succeeded"), fleet.now)
        assert session.slot("m").state is SlotState.EVICTED
        fleet.clock.now += 5


def test_unchanged_slots_stay_in_place_and_all_else_is_applied(fleet: Fleet) -> None:
    session = fleet.connect("a")
    fleet.beat("a", wire_slot(active_token_budget_max=100), seq=1, stats=(1, 10))
    slots, version = session.slots, session.version
    fleet.clock.now += 5
    metrics = SystemMetrics(memory_pressure=0.7, thermal_state="fair")
    fleet.beat(
        "a", wire_slot(active_token_budget_max=100), seq=2, stats=(3, 10), system_metrics=metrics, memory_gb=32.0
    )
    assert session.slots is slots
    assert session.version > version
    live = session.live
    assert (live.last_heartbeat, live.capacity_seq, live.memory_pressure) == (fleet.now, 2, 0.7)
    assert (live.thermal, live.total_memory_gb, session.totals["requests_served"]) == ("fair", 32.0, 3)
    fleet.beat("a", wire_slot(active_token_budget_max=101), seq=3, stats=(3, 10))
    budget = session.slot("m").budget
    assert budget is not None
    assert budget.max == 101


def test_reports_that_become_numbered_count_unreflected_reservations(fleet: Fleet) -> None:
    session = fleet.warm("a")
    assert session.slot("m").as_of_seq == 0
    fleet.beat("a", wire_slot(active_token_budget_max=100_000), seq=7)
    assert session.slot("m").as_of_seq == 7
    fleet.beat("a", wire_slot(active_token_budget_max=100_000))
    assert session.slot("m").as_of_seq == 0


@pytest.mark.parametrize(
    ("backend", "version", "reserve"),
    [("mlx-swift", "0.7.9", 3.0), ("mlx-swift", "0.8.0", 5.5), ("mlx-swift", "", 3.0), ("mlx-python", "1.0.0", 3.0)],
)
def test_later_reference_versions_keep_more_memory_for_activations(
    fleet: Fleet, backend: str, version: str, reserve: float
) -> None:
    session = fleet.connect("a", message=register_message(backend=backend, version=version))
    assert session.caps.activation_gb == reserve
