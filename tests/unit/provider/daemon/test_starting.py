"""What the settings of models change about a daemon: what it loads first, what it tests, what it keeps."""

import msgspec
import pytest
import trio

from protocol.messages.from_provider import CapacityQuote, Heartbeat
from protocol.messages.to_provider import CapacityProbe
from provider.daemon import DaemonRefused
from provider.models.load import LoadFailed
from provider.status.state_file import read_state
from tests.testbed.fake_engine import Script
from tests.testbed.sealed_asker import chat


@pytest.fixture(autouse=True)
async def _limit():
    with trio.fail_after(30):
        yield


async def test_the_self_test_at_the_start_can_be_left_out(open_daemon):
    async with open_daemon(models=("one", "two"), settings={"DARKBLOOM_STARTUP_SELFTEST": "false"}) as daemon:
        connection = await daemon.coordinator.connection()
        beat = await connection.wait(Heartbeat)
        assert set(beat.warm_models) == {"one", "two"}
        assert daemon.engine.requests == []


def refuse(source):
    raise LoadFailed(f"{source.directory} is spoiled.")


async def test_a_model_that_does_not_load_is_a_warning(open_daemon):
    async with open_daemon(load=refuse) as daemon:
        connection = await daemon.coordinator.connection()
        assert (await connection.wait(Heartbeat)).warm_models == ()
        assert daemon.kinds()[:2] == ["model_loading", "model_failed"]


async def test_a_start_ends_with_a_model_that_does_not_load_where_that_is_asked_for(open_daemon, tmp_path):
    with pytest.raises(BaseExceptionGroup) as refused:
        async with open_daemon(load=refuse, settings={"DARKBLOOM_STARTUP_SELFTEST_FAIL_CLOSED": "true"}):
            pass
    error = refused.value
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    assert isinstance(error, DaemonRefused)
    assert "does not work on this machine" in str(error)
    assert "startup_selftest_fail_closed" in str(error)
    state = read_state(tmp_path / "home" / "daemon-state.json")
    assert state is not None
    assert state.stopped_at is not None


@pytest.mark.parametrize(("kept", "scopes"), [("true", ["account"]), ("false", [""])])
async def test_without_a_prefix_cache_no_request_has_a_scope(open_daemon, kept, scopes):
    async with open_daemon(settings={"DARKBLOOM_PREFIX_CACHE": kept}) as daemon:
        connection = await daemon.coordinator.connection()
        sealed = (await connection.asker()).request("r1", chat())
        await connection.send(msgspec.structs.replace(sealed, cache_scope="account"))
        await connection.answer("r1")
        assert [request.cache_scope for request in daemon.engine.requests if not request.warm_up] == scopes


async def test_bounds_of_single_models_reach_the_engine(open_daemon):
    settings = {"DARKBLOOM_MAX_CONCURRENT_BY_MODEL": "bytes=3", "DARKBLOOM_PREFILL_STEP": "256"}
    async with open_daemon(settings=settings) as daemon:
        limits = daemon.limits
        assert (limits.of_model("bytes").max_concurrent, limits.of_model("other").max_concurrent) == (3, 8)
        assert limits.of_model("bytes").prefill_step == 256


async def test_heartbeats_tell_of_the_machine_and_of_idle_models(open_daemon):
    def script(request):
        return Script() if request.warm_up else Script(pieces=["a"] * 50, delay=0.02)

    async with open_daemon(script, settings={"DARKBLOOM_IDLE_TIMEOUT": "30m"}) as daemon:
        connection = await daemon.coordinator.connection()
        beat = await connection.wait(Heartbeat)
        assert beat.idle_unload_mins == 30
        told = beat.backend_capacity.telemetry
        assert told.memory_pressure_level == "none"
        assert (told.in_admission, told.inflight_tasks) == (0, 0)
        await connection.ask("r1", chat())
        busy = await connection.wait(Heartbeat, where=lambda beat: beat.backend_capacity.telemetry.inflight_tasks == 1)
        assert busy.status == "serving"
        await connection.answer("r1")


async def test_quotes_forecast_from_what_requests_like_this_one_took(open_daemon):
    async with open_daemon() as daemon:
        connection = await daemon.coordinator.connection()
        for number in range(6):
            await connection.ask(f"r{number}", chat())
            await connection.answer(f"r{number}")
        probe = CapacityProbe(quote_id="q", model="bytes", prompt_tokens_bucket=512, max_output_tokens=8)
        await connection.send(probe)
        quote = await connection.wait(CapacityQuote)
        assert quote.confidence == "high"
        assert 0 < quote.ttft_p50_ms <= quote.ttft_p90_ms
