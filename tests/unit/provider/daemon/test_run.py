"""The whole daemon, from start to end."""

import dataclasses
import logging
import os
import signal
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import trio

from protocol.attestation import verify_blob
from protocol.challenge import ChallengePolicy, Expectation, check_reply
from protocol.messages.from_provider import (
    AttestationResponse,
    Heartbeat,
    LoadModelStatus,
    ModelsUpdate,
    ProviderDrain,
    Register,
)
from protocol.messages.to_provider import AttestationChallenge, Cancel, LoadModel, ProviderDrainAck, TrustStatus
from protocol.p256 import parse_p256_public
from protocol.vocabulary import DRAINING_TEXT
from provider.config import load_settings
from provider.daemon import DaemonOptions, DaemonRefused, DaemonSeams, OfferedModel, run_daemon
from provider.memory.pressure import Pressure
from provider.models.load import LoadFailed
from tests.testbed.byte_model import byte_model
from tests.testbed.fake_engine import Script
from tests.testbed.fake_machine import FakeHost, FakePosture, hardened
from tests.testbed.sealed_asker import chat
from tests.testbed.waiting import until

ROOT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
async def _limit():
    with trio.fail_after(30):
        yield


def scripted(**fields):
    return lambda request: Script() if request.warm_up else Script(**fields)


async def test_a_daemon_registers_and_answers(open_daemon):
    async with open_daemon() as daemon:
        connection = await daemon.coordinator.connection()
        register = await connection.wait(Register)
        assert register.backend == "mlx-python"
        assert register.platform == "linux-x86_64"
        assert register.encrypted_response_chunks
        assert register.privacy_capabilities.env_scrubbed
        assert [model.id for model in register.models] == ["bytes"]
        assert len(register.models[0].weight_hash) == 64
        assert len(register.runtime_hash) == 64
        verdict = verify_blob(
            register.attestation, register_public_key=register.public_key, now=time.time(), allow_dev=True
        )
        assert verdict.valid
        assert verdict.blob.dev_attestation
        beat = await connection.wait(Heartbeat)
        assert beat.warm_models == ("bytes",)
        assert beat.backend_capacity.slots[0].state == "idle"
        await connection.ask("r1", chat())
        assert (await connection.answer("r1")).text == "Hello"
        served = await connection.wait(Heartbeat, where=lambda beat: beat.stats.requests_served == 1)
        assert served.status == "idle"
        kinds = daemon.kinds()
        assert kinds == ["model_loading", "model_loaded", "connected", "registered"]


async def test_a_challenge_passes_the_coordinators_check(open_daemon):
    async with open_daemon() as daemon:
        connection = await daemon.coordinator.connection()
        register = await connection.wait(Register)
        verdict = verify_blob(
            register.attestation, register_public_key=register.public_key, now=time.time(), allow_dev=True
        )
        challenge = AttestationChallenge(nonce="bm9uY2U=", timestamp="2026-07-01T00:00:00Z")
        await connection.send(challenge)
        reply = await connection.wait(AttestationResponse)
        expected = Expectation(
            nonce=challenge.nonce,
            timestamp=challenge.timestamp,
            public_key=register.public_key,
            signing_key=parse_p256_public(verdict.signing_key),
            dev=True,
            registered_binary_hash=verdict.blob.binary_hash,
            catalog_hashes={"bytes": register.models[0].weight_hash},
        )
        result = check_reply(reply, expected, ChallengePolicy())
        assert result.ok, result.code
        assert result.verified_models == ("bytes",)


async def test_trust_is_told_to_the_display(open_daemon):
    async with open_daemon() as daemon:
        connection = await daemon.coordinator.connection()
        await connection.wait(Register)
        await connection.send(TrustStatus(trust_level="self_signed", status="online", reason=""))
        await until(lambda: "trusted" in daemon.kinds())
        assert daemon.control.status.trust.trust_level == "self_signed"


async def test_drain_finishes_what_runs_refuses_what_comes_and_leaves(open_daemon):
    async with open_daemon(scripted(pieces=("x",) * 5, delay=0.05)) as daemon:
        connection = await daemon.coordinator.connection()
        await connection.ask("old", chat())
        await connection.wait(Heartbeat, where=lambda beat: beat.status == "serving")
        daemon.control.drain()
        await connection.wait(Heartbeat, where=lambda beat: beat.status == "draining")
        await connection.ask("new", chat())
        await connection.send(LoadModel(model_id="bytes"))
        assert (await connection.answer("new")).terminal.error_reason == "draining"
        failed = await connection.wait(LoadModelStatus, where=lambda said: said.status == "failed")
        assert failed.error == DRAINING_TEXT
        assert (await connection.answer("old")).text == "xxxxx"
        barrier = await connection.wait(ProviderDrain)
        await connection.send(ProviderDrainAck(request_id=barrier.request_id))
        await daemon.ended.wait()
        await connection.wait_end()
        assert daemon.code == 0
        assert connection.closed_code == 1001
        assert daemon.kinds()[-2:] == ["draining", "stopped"]


async def test_a_second_order_ends_requests_early(open_daemon):
    async with open_daemon(scripted(pieces=("x",) * 1000, delay=0.02)) as daemon:
        connection = await daemon.coordinator.connection()
        await connection.ask("r1", chat())
        await connection.wait(Heartbeat, where=lambda beat: beat.status == "serving")
        await trio.sleep(0.1)
        daemon.control.drain()
        daemon.control.drain()
        terminal = (await connection.answer("r1")).terminal
        assert terminal.TYPE == "inference_complete"
        await connection.send(ProviderDrainAck(request_id=(await connection.wait(ProviderDrain)).request_id))
        await daemon.ended.wait()
        assert daemon.code == 0


async def test_a_lost_connection_ends_requests_and_keeps_the_model(open_daemon):
    async with open_daemon(scripted(pieces=("x",) * 1000, delay=0.02)) as daemon:
        first = await daemon.coordinator.connection(1)
        await first.ask("r1", chat())
        await first.wait(Heartbeat, where=lambda beat: beat.status == "serving")
        await first.reset()
        second = await daemon.coordinator.connection(2)
        beat = await second.wait(Heartbeat)
        assert beat.warm_models == ("bytes",)
        assert daemon.control.in_flight == daemon.engine.live == 0
        assert second.messages[0].public_key == first.messages[0].public_key


async def test_the_coordinator_orders_a_load(open_daemon):
    async with open_daemon(models=("bytes", "more"), settings={"DARKBLOOM_MAX_MODEL_SLOTS": "1"}) as daemon:
        connection = await daemon.coordinator.connection()
        (warm,) = (await connection.wait(Heartbeat)).warm_models
        other = ({"bytes", "more"} - {warm}).pop()
        await connection.send(LoadModel(model_id=other))
        await connection.wait(LoadModelStatus, where=lambda said: said.status == "succeeded")
        await connection.wait(Heartbeat, where=lambda beat: beat.warm_models == (other,))


async def test_a_cancel_reaches_the_request(open_daemon):
    async with open_daemon(scripted(delay=30)) as daemon:
        connection = await daemon.coordinator.connection()
        await connection.ask("r1", chat())
        await connection.wait(Heartbeat, where=lambda beat: beat.backend_capacity.slots[0].num_running == 1)
        await connection.send(Cancel(request_id="r1"))
        assert (await connection.answer("r1")).terminal.status_code == 499


async def test_a_model_that_does_not_load_does_not_stop_the_daemon(open_daemon):
    def load(source):
        if source.model_id == "bytes":
            raise LoadFailed("The folder is broken; download it again.")
        return byte_model(source.model_id)

    async with open_daemon(models=("bytes", "more"), load=load) as daemon:
        connection = await daemon.coordinator.connection()
        assert (await connection.wait(Heartbeat)).warm_models == ("more",)
        assert daemon.kinds().count("model_failed") == 1


async def test_where_a_model_lies_on_this_machine_stays_here(open_daemon):
    def load(source):
        raise LoadFailed("The model in /home/owner/models cannot be loaded; download it again.")

    async with open_daemon(load=load) as daemon:
        connection = await daemon.coordinator.connection()
        await connection.wait(Heartbeat)
        await connection.send(LoadModel(model_id="bytes"))
        status = await connection.wait(LoadModelStatus, where=lambda status: status.status == "failed")
        assert status.error == "The model bytes does not work on this machine."
        failed = [event for event in daemon.events if event.kind == "model_failed"]
        assert "/home/owner/models" in failed[-1].text


async def test_a_slow_load_does_not_hold_up_the_registration(open_daemon):
    go = threading.Event()

    def load(source):
        go.wait(10)
        return byte_model(source.model_id)

    async with open_daemon(load=load, settings={"DARKBLOOM_PRELOAD_TIMEOUT": "50ms"}) as daemon:
        connection = await daemon.coordinator.connection()
        beat = await connection.wait(Heartbeat)
        assert beat.warm_models == ()
        assert [slot.state for slot in beat.backend_capacity.slots] == ["reloading"]
        go.set()
        await connection.wait(Heartbeat, where=lambda beat: beat.warm_models == ("bytes",))


async def test_weights_that_changed_are_announced_after_the_load(open_daemon, tmp_path):
    async with open_daemon(models=("bytes", "more"), settings={"DARKBLOOM_MAX_MODEL_SLOTS": "1"}) as daemon:
        connection = await daemon.coordinator.connection()
        register = await connection.wait(Register)
        (warm,) = (await connection.wait(Heartbeat)).warm_models
        other = ({"bytes", "more"} - {warm}).pop()
        (tmp_path / other / "model.safetensors").write_bytes(b"other weights")
        await connection.send(LoadModel(model_id=other))
        update = await connection.wait(
            ModelsUpdate, where=lambda update: _hash(update, other) not in ("", _hash(register, other))
        )
        assert _hash(update, warm) == _hash(register, warm) != ""


async def test_a_model_that_nobody_uses_goes_and_comes_back_with_the_next_request(open_daemon):
    async with open_daemon(settings={"DARKBLOOM_IDLE_TIMEOUT": "100ms"}) as daemon:
        connection = await daemon.coordinator.connection()
        gone = await connection.wait(Heartbeat, where=lambda beat: beat.warm_models == ())
        assert gone.backend_capacity.slots == ()
        await connection.ask("r1", chat())
        heard = await connection.answer("r1")
        assert (heard.kinds[0], heard.text) == ("accepted", "Hello")


async def test_critical_memory_empties_the_report_refuses_requests_and_keeps_the_connection(open_daemon):
    settings = {"DARKBLOOM_MEMORY_CHECK": "20ms", "DARKBLOOM_IDLE_TIMEOUT": "0s"}
    async with open_daemon(scripted(pieces=("x",) * 20, delay=0.05), settings=settings) as daemon:
        connection = await daemon.coordinator.connection()
        assert (await connection.wait(Heartbeat)).backend_capacity.free_for_load_gb > 1
        await connection.ask("old", chat())
        await connection.wait(Heartbeat, where=lambda beat: beat.status == "serving")
        daemon.gauge.now = Pressure.CRITICAL
        await until(lambda: not daemon.engine.admission_open)
        await connection.ask("new", chat())
        refused = (await connection.answer("new")).terminal
        assert (refused.status_code, refused.error_reason) == (503, "capacity_busy")
        assert (await connection.answer("old")).text == "x" * 20
        empty = await connection.wait(Heartbeat, where=lambda beat: beat.warm_models == ())
        assert empty.backend_capacity.free_for_load_gb == 0
        await connection.ask("cold", chat())
        heard = await connection.answer("cold")
        assert (heard.kinds, heard.terminal.error_reason) == (["error"], "capacity_busy")
        assert daemon.control.status.connections == 1


async def test_a_second_daemon_names_the_first(open_daemon):
    async with open_daemon() as daemon:
        with pytest.raises(DaemonRefused, match=f"process {os.getpid()} holds") as refused:
            await daemon.run()
        assert refused.value.exit_code == 1
        connection = await daemon.coordinator.connection()
        await connection.ask("r1", chat())
        assert (await connection.answer("r1")).text == "Hello"


def plain(tmp_path, **fields):
    settings = load_settings({"DARKBLOOM_HOME": str(tmp_path / "home"), **fields.pop("environment", {})}).settings
    return DaemonOptions(
        models=fields.pop("models", ()), settings=settings, owns_process=False, coordinator_url=fields.pop("url", None)
    )


def quiet_seams(hardening=None):
    return DaemonSeams(harden=lambda: hardening or hardened(), host=FakeHost(), posture=FakePosture())


@pytest.mark.parametrize(
    ("url", "words"), [(None, "DARKBLOOM_COORDINATOR_URL"), ("ws://10.0.0.1", "wss://"), ("nonsense", "not usable")]
)
async def test_an_unusable_address_is_a_configuration_failure(tmp_path, url, words):
    with pytest.raises(DaemonRefused, match=words) as refused:
        await run_daemon(plain(tmp_path, url=url), seams=quiet_seams())
    assert refused.value.exit_code == 2


async def test_unreadable_settings_are_a_configuration_failure(monkeypatch):
    monkeypatch.setenv("DARKBLOOM_MAX_CONCURRENT", "many")
    with pytest.raises(DaemonRefused, match="DARKBLOOM_MAX_CONCURRENT") as refused:
        await run_daemon(DaemonOptions(models=(), owns_process=False), seams=quiet_seams())
    assert refused.value.exit_code == 2


async def test_a_folder_without_a_model_is_refused(tmp_path):
    options = plain(tmp_path, url="ws://127.0.0.1:9", models=(OfferedModel("a", tmp_path),))
    with pytest.raises(DaemonRefused, match="holds no model") as refused:
        await run_daemon(options, seams=quiet_seams())
    assert refused.value.exit_code == 1


async def test_a_readable_identity_key_is_refused(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "identity.key").write_text("x")
    (home / "identity.key").chmod(0o644)
    with pytest.raises(DaemonRefused, match="chmod 600"):
        await run_daemon(plain(tmp_path, url="ws://127.0.0.1:9"), seams=quiet_seams())


async def test_an_unprotected_process_serves_in_development_only(tmp_path, open_daemon, caplog):
    weak = dataclasses.replace(hardened(), anti_debug_enabled=False, problems=("A tracer is attached; stop it.",))
    with pytest.raises(DaemonRefused, match="A tracer is attached"):
        await run_daemon(plain(tmp_path, url="ws://127.0.0.1:9"), seams=quiet_seams(weak))
    caplog.set_level(logging.WARNING)
    async with open_daemon(hardening=weak, settings={"DARKBLOOM_DEV": "1"}) as daemon:
        register = await (await daemon.coordinator.connection()).wait(Register)
        assert not register.privacy_capabilities.anti_debug_enabled
    assert "A tracer is attached" in caplog.text


PROCESS = """
    import sys, trio
    from contextlib import asynccontextmanager
    from pathlib import Path
    from provider.daemon import DaemonOptions, DaemonRefused, DaemonSeams, OfferedModel, run_daemon
    from tests.testbed.byte_model import byte_model
    from tests.testbed.fake_engine import FakeEngine, Script

    @asynccontextmanager
    async def open_engine(headroom, limits):
        script = lambda r: Script() if r.warm_up else Script(pieces=("x",) * 20, delay=0.05)
        async with FakeEngine.open(script, limits=limits) as engine:
            yield engine

    url, folder = sys.argv[1:]
    options = DaemonOptions(models=(OfferedModel("bytes", Path(folder)),), coordinator_url=url)
    seams = DaemonSeams(open_engine=open_engine, load=lambda source: byte_model(source.model_id))
    try:
        sys.exit(trio.run(lambda: run_daemon(options, seams=seams)))
    except DaemonRefused as refused:
        print(refused)
        sys.exit(refused.exit_code)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="protects its process with Linux calls")
async def test_sigterm_drains_a_real_process(tmp_path):
    from tests.testbed.fake_coordinator import FakeCoordinator

    folder = tmp_path / "bytes"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"w")
    async with FakeCoordinator.open(loopback=True) as coordinator, trio.open_nursery() as nursery:
        command = [sys.executable, "-c", textwrap.dedent(PROCESS), coordinator.url, str(folder)]
        environment = {**os.environ, "DARKBLOOM_HOME": str(tmp_path / "home"), "DARKBLOOM_DEV": "1"}
        process = await trio.lowlevel.open_process(command, cwd=ROOT, env=environment)
        try:
            connection = await coordinator.connection()
            register = await connection.wait(Register)
            assert register.privacy_capabilities.core_dumps_disabled
            assert register.privacy_capabilities.anti_debug_enabled
            second = await trio.run_process(command, cwd=ROOT, env=environment, check=False, capture_stdout=True)
            assert second.returncode == 1
            assert f"process {process.pid} holds".encode() in second.stdout
            await connection.ask("r1", chat())
            await connection.wait(Heartbeat, where=lambda beat: beat.status == "serving")
            process.send_signal(signal.SIGTERM)
            assert (await connection.answer("r1")).text == "x" * 20
            await connection.send(ProviderDrainAck(request_id=(await connection.wait(ProviderDrain)).request_id))
            assert await process.wait() == 0
            await connection.wait_end()
            assert connection.closed_code == 1001
        finally:
            if process.returncode is None:
                process.kill()
        nursery.cancel_scope.cancel()


def _hash(message, model_id):
    return next(model.weight_hash for model in message.models if model.id == model_id)


async def test_the_machine_stays_awake_while_requests_run(open_daemon):
    async with open_daemon(scripted(pieces=("a",) * 5, delay=0.02)) as daemon:
        connection = await daemon.coordinator.connection()
        await connection.wait(Heartbeat)
        assert not daemon.wakefulness.is_held
        await connection.ask("r1", chat())
        await until(lambda: daemon.wakefulness.is_held)
        await connection.answer("r1")
        await until(lambda: not daemon.wakefulness.is_held)
        assert daemon.wakefulness.holds == 1


CHIP = """#!{python} -I
import base64, json, sys
sys.path[:0] = {path!r}
from protocol.identity import SoftwareSigner
signer = SoftwareSigner.from_scalar(7)
for line in sys.stdin:
    asked = json.loads(line)
    if asked["op"] == "info":
        answer = {{"public_key": base64.b64encode(signer.public65()).decode()}}
    else:
        answer = {{"signature": base64.b64encode(signer.sign(base64.b64decode(asked["data"]))).decode()}}
    print(json.dumps(answer), flush=True)
"""


async def test_a_machine_with_a_security_chip_signs_with_it_and_is_no_development_machine(open_daemon, tmp_path):
    helper = tmp_path / "darkbloom-enclave"
    helper.write_text(CHIP.format(python=sys.executable, path=[path for path in sys.path if path]))
    helper.chmod(0o755)
    async with open_daemon(settings={"DARKBLOOM_ENCLAVE_HELPER": str(helper)}) as daemon:
        connection = await daemon.coordinator.connection()
        register = await connection.wait(Register)
        verdict = verify_blob(
            register.attestation, register_public_key=register.public_key, now=time.time(), allow_dev=True
        )
        assert verdict.blob.secure_enclave_available
        assert not verdict.blob.dev_attestation
        assert not (daemon.home / "identity.key").exists()
