"""One connection: what is said first, when heartbeats come, and how orders are answered."""

import logging

import msgspec
import trio

from protocol.messages.from_provider import (
    AttestationResponse,
    CapacityQuote,
    Heartbeat,
    InferenceAccepted,
    InferenceResponseChunk,
    LoadModelStatus,
    ModelEntry,
    ModelsUpdate,
    PrefetchModelStatus,
    ProviderDrain,
    Register,
)
from protocol.messages.to_provider import (
    AttestationChallenge,
    Cancel,
    CapacityProbe,
    CodeAttestationResumeChallenge,
    DesiredModel,
    DesiredModels,
    InferenceRequest,
    LoadModel,
    Mismatch,
    PrefetchModel,
    ProviderDrainAck,
    RuntimeStatus,
    TrustStatus,
)
from provider.link.outbox import REQUEST_FRAMES
from provider.link.session import MAX_CHALLENGES, MAX_LOADS, MAX_UNSENT_REQUESTS, TOO_MANY_LOADS

CODE_CHALLENGE = "code_attestation_resume_challenge"


def timed_beats(connection):
    pairs = zip(connection.times, connection.messages, strict=True)
    return [(time, message) for time, message in pairs if isinstance(message, Heartbeat)]


async def test_register_comes_first_and_heartbeats_follow_at_once(open_bench, autojump_clock):
    async with open_bench() as bench:
        connection = await bench.coordinator.connection()
        await connection.wait(Heartbeat, 4)
        assert isinstance(connection.messages[0], Register)
        beats = [
            (time, m) for time, m in zip(connection.times, connection.messages, strict=True) if isinstance(m, Heartbeat)
        ]
        assert [time for time, _ in beats] == [0, 5, 10, 15]
        assert [beat.backend_capacity.capacity_seq for _, beat in beats] == [1, 2, 3, 4]
        assert bench.kinds() == ["connected", "registered"]
        assert bench.link.status.registered


async def test_the_registration_nonce_of_the_upgrade_is_passed_on(open_bench, autojump_clock):
    async with open_bench(extra_headers=[(b"X-Darkbloom-Registration-Nonce", b"n0nce")]) as bench:
        await (await bench.coordinator.connection()).wait(Register)
        assert bench.port.nonces == ["n0nce"]


async def test_a_change_is_sent_at_once_and_bursts_share_a_window(open_bench, autojump_clock):
    async with open_bench() as bench:
        connection = await bench.coordinator.connection()
        await connection.wait(Heartbeat)
        await trio.sleep(1)
        for running in range(1, 11):
            bench.port.slots = (msgspec.structs.replace(bench.port.slots[0], num_running=running),)
            bench.bell.ring()
            await trio.sleep(0.01)
        await connection.wait(Heartbeat, 3)
        await trio.sleep(2)
        beats = timed_beats(connection)
        assert [round(t, 6) for t, _ in beats] == [0, 1, 1.5]
        assert beats[1][1].backend_capacity.slots[0].num_running == 1
        assert beats[2][1].backend_capacity.slots[0].num_running == 10


async def test_an_insignificant_change_sends_nothing(open_bench, autojump_clock):
    async with open_bench() as bench:
        connection = await bench.coordinator.connection()
        await connection.wait(Heartbeat)
        await trio.sleep(1)
        bench.port.slots = (msgspec.structs.replace(bench.port.slots[0], active_tokens=7),)
        bench.bell.ring()
        await trio.sleep(3)
        assert len(connection.of(Heartbeat)) == 1


async def test_a_change_during_a_pause_between_heartbeats_is_not_lost(open_bench, autojump_clock):
    async with open_bench() as bench:
        bench.bell.ring()
        connection = await bench.coordinator.connection()
        await connection.wait(Heartbeat)
        bench.port.slots = ()
        bench.bell.ring()
        assert (await connection.wait(Heartbeat, 2)).backend_capacity.slots == ()


async def test_a_challenge_is_answered_at_once(open_bench, autojump_clock):
    async with open_bench() as bench:
        connection = await bench.coordinator.connection()
        await connection.wait(Heartbeat)
        await connection.send(AttestationChallenge(nonce="abc", timestamp="2026-07-01T00:00:00Z"))
        reply = await connection.wait(AttestationResponse)
        assert reply.nonce == "abc"
        assert trio.current_time() == 0


async def test_a_challenge_passes_queued_chunks(open_bench, autojump_clock):
    async with open_bench() as bench:
        connection = await bench.coordinator.connection()
        await connection.wait(Heartbeat)
        await connection.send(InferenceRequest(request_id="r"))
        await connection.wait(InferenceAccepted)
        lane = bench.port.requests[0][1]
        frame = (
            b'{"type":"inference_response_chunk","request_id":"r","encrypted_data":{"ciphertext":"'
            + b"A" * 4000
            + b'"}}'
        )
        for _ in range(REQUEST_FRAMES):
            lane.put(frame)
        await connection.send(AttestationChallenge(nonce="abc", timestamp="2026-07-01T00:00:00Z"))
        await connection.wait(AttestationResponse)
        await connection.wait(InferenceResponseChunk, REQUEST_FRAMES)
        place = next(i for i, m in enumerate(connection.messages) if isinstance(m, AttestationResponse))
        assert place < len(connection.messages) - 100


async def test_a_flood_of_loads_is_refused_in_words_and_starves_no_challenge(open_bench, autojump_clock, caplog):
    async with open_bench() as bench:
        bench.port.load_seconds = 60
        connection = await bench.coordinator.connection()
        await connection.wait(Heartbeat)
        for number in range(MAX_LOADS + 8):
            await connection.send(LoadModel(model_id=f"m{number}"))
        await connection.send(AttestationChallenge(nonce="n", timestamp="2026-07-01T00:00:00Z"))
        assert (await connection.wait(AttestationResponse)).nonce == "n"
        said = [(m.status, m.error) for m in connection.of(LoadModelStatus)]
        assert said.count(("started", "")) == MAX_LOADS
        assert said.count(("failed", TOO_MANY_LOADS)) == 8
        assert [record.msg for record in caplog.records].count("too many orders at once") == 1
        await trio.sleep(61)
        await connection.send(LoadModel(model_id="later"))
        await connection.wait(LoadModelStatus, where=lambda m: (m.model_id, m.status) == ("later", "started"))


async def test_a_flood_of_challenges_is_bounded_and_stops_no_load(open_bench, autojump_clock):
    async with open_bench() as bench:
        bench.port.challenge_seconds = 60
        connection = await bench.coordinator.connection()
        await connection.wait(Heartbeat)
        for number in range(MAX_CHALLENGES + 8):
            await connection.send(AttestationChallenge(nonce=str(number), timestamp="2026-07-01T00:00:00Z"))
        await connection.send(LoadModel(model_id="bytes"))
        await connection.wait(LoadModelStatus, where=lambda m: m.status == "succeeded")
        await trio.sleep(61)
        assert {m.nonce for m in connection.of(AttestationResponse)} == {str(n) for n in range(MAX_CHALLENGES)}


async def test_who_asks_without_end_and_reads_nothing_is_left(open_bench, autojump_clock):
    async with open_bench() as bench:
        connection = await bench.coordinator.connection()
        await connection.wait(Heartbeat)
        bench.streams[0].is_stuck = True
        for number in range(MAX_UNSENT_REQUESTS + 10):
            await connection.send(InferenceRequest(request_id=f"r{number}"))
            await trio.testing.wait_all_tasks_blocked()
            if bench.port.lost:
                break
        assert len(bench.port.lost) == 1
        # One frame was on its way when the writer got stuck.
        assert len(bench.port.requests) == MAX_UNSENT_REQUESTS + 1
        assert [event.text for event in bench.events if event.kind == "disconnected"] == ["data_lane_full"]


async def test_a_fault_of_ours_ends_the_connection_without_its_text_and_the_next_one_works(
    open_bench, autojump_clock, caplog
):
    async with open_bench() as bench:
        first = await bench.coordinator.connection()
        await first.wait(Heartbeat)
        bench.port.accept_error = ValueError("CANARY")
        await first.send(InferenceRequest(request_id="r1"))
        second = await bench.coordinator.connection(2)
        await second.wait(Heartbeat)
        await second.send(InferenceRequest(request_id="r2"))
        await second.wait(InferenceAccepted)
        assert [event.text for event in bench.events if event.kind == "disconnected"] == ["internal_fault"]
    assert "CANARY" not in caplog.text
    (line,) = [record for record in caplog.records if record.msg == "connection failed"]
    assert line.fault == "ValueError"
    assert line.place.split()[-1].startswith("conftest.py:")


async def test_load_model_reports_its_course(open_bench, autojump_clock):
    async with open_bench() as bench:
        bench.port.load_seconds = 3
        connection = await bench.coordinator.connection()
        await connection.wait(Heartbeat)
        await connection.send(LoadModel(model_id="bytes"))
        await connection.wait(LoadModelStatus, 2)
        bench.port.load_error = "no memory"
        await connection.send(LoadModel(model_id="big"))
        await connection.wait(LoadModelStatus, 4)
        said = [(m.model_id, m.status, m.error) for m in connection.of(LoadModelStatus)]
        assert said == [
            ("bytes", "started", ""),
            ("bytes", "succeeded", ""),
            ("big", "started", ""),
            ("big", "failed", "no memory"),
        ]


async def test_prefetch_reports_what_comes_of_it(open_bench, autojump_clock):
    async with open_bench() as bench:
        connection = await bench.coordinator.connection()
        await connection.wait(Heartbeat)
        await connection.send(PrefetchModel(model_id="big"))
        await connection.wait(PrefetchModelStatus, 2)
        assert [status.status for status in connection.of(PrefetchModelStatus)] == ["started", "verified"]


async def test_desired_models_and_probes_reach_the_provider(open_bench, autojump_clock):
    async with open_bench() as bench:
        connection = await bench.coordinator.connection()
        beat = await connection.wait(Heartbeat)
        await connection.send(DesiredModels(models=(DesiredModel(model_name="a", desired_build="a-2"),)))
        await connection.send(CapacityProbe(quote_id="q", model="bytes"))
        quote = await connection.wait(CapacityQuote)
        assert (quote.quote_id, quote.capacity_seq) == ("q", beat.backend_capacity.capacity_seq)
        assert [model.desired_build for model in bench.port.desired] == ["a-2"]


async def test_requests_and_cancels_reach_the_desk(open_bench, autojump_clock):
    async with open_bench() as bench:
        connection = await bench.coordinator.connection()
        await connection.send(InferenceRequest(request_id="r1"))
        await connection.send(Cancel(request_id="r1"))
        await connection.wait(InferenceAccepted)
        assert [message.request_id for message, _ in bench.port.requests] == ["r1"]
        await trio.testing.wait_all_tasks_blocked()
        assert bench.port.cancels == ["r1"]


async def test_a_large_request_passes(open_bench, autojump_clock):
    async with open_bench() as bench:
        connection = await bench.coordinator.connection()
        body = {"ephemeral_public_key": "AA", "ciphertext": "A" * (22 * 1024 * 1024)}
        text = msgspec.json.encode({"type": "inference_request", "request_id": "big", "encrypted_body": body}).decode()
        await connection.send_text(text)
        await connection.wait(InferenceAccepted)
        assert len(bench.port.requests[0][0].encrypted_body.ciphertext) == 22 * 1024 * 1024


async def test_unknown_types_are_logged_once_each(open_bench, autojump_clock, caplog):
    caplog.set_level(logging.INFO, logger="provider.link")
    async with open_bench() as bench:
        connection = await bench.coordinator.connection()
        for _ in range(3):
            await connection.send_text('{"type":"brand_new","secret":"CANARY"}')
        await connection.send_text('{"type":"cancel","request_id":7}')
        await connection.send_text("not json")
        await connection.send(CodeAttestationResumeChallenge())
        await connection.send(AttestationChallenge(nonce="n", timestamp="2026-07-01T00:00:00Z"))
        await connection.wait(AttestationResponse)
        assert bench.link.status.frames_ignored == {"brand_new": 3, "cancel": 1, "malformed": 1, CODE_CHALLENGE: 1}
    lines = [record for record in caplog.records if record.msg == "message ignored"]
    assert [record.type for record in lines] == ["brand_new", "cancel", "malformed", CODE_CHALLENGE]
    assert "CANARY" not in caplog.text


async def test_trust_and_runtime_are_kept_and_told_on_change(open_bench, autojump_clock, caplog):
    caplog.set_level(logging.INFO, logger="provider.link")
    good = TrustStatus(trust_level="self_signed", status="online", reason="se_verified")
    bad = TrustStatus(trust_level="none", status="untrusted", reason="challenge_failed")
    async with open_bench() as bench:
        connection = await bench.coordinator.connection()
        for message in (good, good, bad):
            await connection.send(message)
        await connection.send(
            RuntimeStatus(verified=False, mismatches=(Mismatch(component="python", expected="a", got="b"),))
        )
        await connection.send(AttestationChallenge(nonce="n", timestamp="2026-07-01T00:00:00Z"))
        await connection.wait(AttestationResponse)
        assert bench.link.status.trust == bad
        assert not bench.link.status.runtime.verified
        told = [(event.kind, event.text) for event in bench.events if "trusted" in event.kind]
        assert told == [("trusted", "self_signed"), ("untrusted", "challenge_failed")]


async def test_a_refused_token_is_kept_and_logged_once(open_bench, autojump_clock, caplog):
    online = {"trust_level": "self_signed", "status": "online"}
    async with open_bench() as bench:
        connection = await bench.coordinator.connection()
        for reason in ("se_verified", "recovered"):
            await connection.send(TrustStatus(**online, reason=reason, account="token_refused"))
        await connection.send(AttestationChallenge(nonce="n", timestamp="2026-07-01T00:00:00Z"))
        await connection.wait(AttestationResponse)
        assert bench.link.status.trust.account == "token_refused"
    assert caplog.text.count("Run `darkbloom logout`, then `darkbloom login`.") == 1


async def test_new_hashes_are_announced(open_bench, autojump_clock):
    async with open_bench() as bench:
        connection = await bench.coordinator.connection()
        await connection.wait(Heartbeat)
        bench.port.entries = (ModelEntry(id="bytes", size_bytes=1, weight_hash="ab" * 32),)
        bench.port.constrained = ("bytes",)
        bench.port.models_version += 1
        bench.port.changed.set()
        update = await connection.wait(ModelsUpdate)
        assert update.models == bench.port.entries
        assert (update.tool_constraint_protocol, update.tool_constraint_models) == (1, ("bytes",))


async def test_drain_waits_for_the_word_of_the_coordinator_and_leaves_with_1001(open_bench, autojump_clock):
    async with open_bench(run=False) as bench, trio.open_nursery() as nursery:
        nursery.start_soon(bench.link.run)
        connection = await bench.coordinator.connection()
        await connection.wait(Heartbeat)
        await connection.send(InferenceRequest(request_id="r1"))
        await connection.wait(InferenceAccepted)
        bench.port.requests[0][1].put(b'{"type":"inference_complete","request_id":"r1","usage":{}}')
        drained = trio.Event()

        async def drain():
            await bench.link.drain()
            drained.set()

        nursery.start_soon(drain)
        barrier = await connection.wait(ProviderDrain)
        assert connection.messages[-2].TYPE == "inference_complete"
        assert 0 < len(barrier.request_id) <= 64
        await trio.sleep(3)
        assert connection.closed_code is None
        await connection.send(ProviderDrainAck(request_id=barrier.request_id))
        await connection.wait_end()
        assert connection.closed_code == 1001
        await trio.testing.wait_all_tasks_blocked()
        assert drained.is_set()
        assert trio.current_time() == 3
    assert len(bench.coordinator.dials) == 1


async def test_drain_without_an_answer_goes_on_after_ten_seconds(open_bench, autojump_clock):
    async with open_bench(run=False) as bench, trio.open_nursery() as nursery:
        nursery.start_soon(bench.link.run)
        connection = await bench.coordinator.connection()
        await connection.wait(Heartbeat)
        await trio.sleep(1)
        await bench.link.drain()
        assert trio.current_time() == 11
        await connection.wait_end()
        assert connection.closed_code == 1001


async def test_drain_does_not_wait_for_the_word_of_a_connection_that_is_gone(open_bench, autojump_clock):
    async with open_bench(run=False) as bench, trio.open_nursery() as nursery:
        nursery.start_soon(bench.link.run)
        connection = await bench.coordinator.connection()
        await connection.wait(Heartbeat)
        nursery.start_soon(bench.link.drain)
        await connection.wait(ProviderDrain)
        await trio.sleep(3)
        await connection.reset()
        await trio.testing.wait_all_tasks_blocked()
        assert trio.current_time() == 3
        assert not bench.link.status.connected
    assert trio.current_time() == 3


async def test_drain_without_a_connection_returns_at_once(open_bench, autojump_clock):
    async with open_bench(run=False) as bench:
        await bench.link.drain()
        assert trio.current_time() == 0


async def test_a_coordinator_that_ignores_the_goodbye_is_left(open_bench, autojump_clock):
    async with open_bench(run=False) as bench, trio.open_nursery() as nursery:
        nursery.start_soon(bench.link.run)
        connection = await bench.coordinator.connection()
        await connection.wait(Heartbeat)
        connection.stream.is_deaf = True
        await bench.link.drain()
        assert trio.current_time() == 12
