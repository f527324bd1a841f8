"""The course of one request: order of frames, and one terminal on every way out."""

import json
import logging
import threading

import pytest
import trio

from protocol.failure import sanitise
from protocol.messages.from_provider import InferenceComplete, InferenceError
from protocol.messages.to_provider import InferenceRequest
from protocol.messages.wire import EncryptedPayload
from protocol.p256 import verify_p256
from protocol.response_hash import ResponseHasher
from protocol.sealing import SealingError
from provider.engine import Cause, EngineLimits, Failure, FinishReason
from provider.link.outbox import REQUEST_FRAMES, Outbox
from provider.models.load import LoadFailed
from provider.requests.refusal import OF_CAUSE, OF_LOAD
from tests.testbed.fake_engine import Script, finished_with
from tests.testbed.sealed_asker import chat

HELLO = ["chunk"] * 6 + ["complete"]


def scripted(**fields):
    return lambda request: Script() if request.warm_up else Script(**fields)


def failing(cause):
    return lambda request: Script() if request.warm_up else finished_with(cause)


async def test_an_answer_has_its_events_in_order(open_bench):
    async with open_bench() as bench:
        heard = await bench.ask(chat(max_tokens=10))
        assert heard.kinds == HELLO
        first, one, two, finish, usage, done = heard.events
        assert done == b"data: [DONE]\n\n"
        events = [json.loads(event.removeprefix(b"data: ")) for event in (first, one, two, finish, usage)]
        for event in events:
            assert event["id"] == "chatcmpl-r1"
            assert event["object"] == "chat.completion.chunk"
            assert event["created"] == 1_700_000_000
            assert event["model"] == "bytes"
        assert events[0]["choices"] == [
            {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
        ]
        assert events[1]["choices"] == [{"index": 0, "delta": {"content": "Hel"}, "finish_reason": None}]
        assert events[3]["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
        assert events[4]["choices"] == []
        terminal = heard.terminal
        prompt = len("user: hi\nassistant: ")
        assert (terminal.usage.prompt_tokens, terminal.usage.completion_tokens) == (prompt, 3)
        assert events[4]["usage"]["total_tokens"] == prompt + 3
        assert bench.counters.requests_served == 1
        assert bench.counters.tokens_generated == 3


async def test_the_terminal_signs_the_text(open_bench):
    async with open_bench() as bench:
        terminal = (await bench.ask(chat())).terminal
        hasher = ResponseHasher("r1")
        hasher.add_text("Hello")
        assert terminal.response_hash == hasher.finish(3)
        signer = bench.desk.services.signer
        assert verify_p256(signer.public65(), terminal.response_hash.encode(), terminal.se_signature)


async def test_without_a_signer_the_hash_stands_alone(open_bench):
    async with open_bench(signed=False) as bench:
        terminal = (await bench.ask(chat())).terminal
        assert terminal.response_hash
        assert terminal.se_signature == ""


async def test_a_stop_string_and_the_length_are_reported(open_bench):
    async with open_bench(scripted(pieces=("a",), stop_sequence="END")) as bench:
        assert (await bench.ask(chat(stop="END"))).terminal.stop_sequence == "END"
        assert bench.engine.requests[0].stop == ("END",)
    async with open_bench() as bench:
        heard = await bench.ask(chat(max_tokens=1))
        assert b'"finish_reason":"length"' in heard.events[2]
        assert heard.text == "Hel"


async def test_a_text_completion_has_its_own_shape(open_bench):
    async with open_bench() as bench:
        heard = await bench.ask({"model": "bytes", "endpoint": "/v1/completions", "prompt": "Once"})
        first = json.loads(heard.events[0].removeprefix(b"data: "))
        assert first["object"] == "text_completion"
        assert first["choices"] == [{"index": 0, "text": "Hel", "finish_reason": None}]
        assert heard.text == "Hello"
        assert bench.engine.requests[0].prompt_tokens[1:] == tuple(b"Once")


async def test_accepted_is_said_before_a_load_and_only_then(open_bench):
    async with open_bench(resident=False) as bench:
        assert (await bench.ask(chat(), "cold")).kinds == ["accepted", *HELLO]
        assert (await bench.ask(chat(), "warm")).kinds == HELLO


@pytest.mark.parametrize("cause", list(Cause))
async def test_every_engine_failure_is_one_error_in_closed_words(open_bench, cause):
    async with open_bench(failing(cause)) as bench:
        heard = await bench.ask(chat())
        assert heard.kinds == ["error"]
        expected, said = OF_CAUSE[cause], heard.terminal
        assert (said.status_code, said.failure_code) == (expected.status, expected.code)
        assert (said.error_reason, said.terminal_cause) == (expected.reason, expected.cause)
        assert said.attempt_usage.completion_tokens == 0
        assert sanitise(said).drift == ()
        assert bench.engine.live == bench.desk.in_flight == bench.desk.live == 0


@pytest.mark.parametrize(
    ("cause", "status", "health"),
    [
        (Cause.QUEUE_FULL, 429, "capacity"),
        (Cause.TOKEN_BUDGET_EXHAUSTED, 503, "capacity"),
        (Cause.ADMISSION_TIMEOUT, 503, "capacity"),
        (Cause.SAFETY_DEADLINE, 504, "neutral"),
        (Cause.BACKPRESSURE_TIMEOUT, 504, "neutral"),
        (Cause.PREFILL_STALL, 500, "fault"),
        (Cause.WATCHDOG, 500, "fault"),
        (Cause.ENGINE_ERROR, 500, "fault"),
    ],
)
async def test_the_coordinator_reads_failures_as_meant(open_bench, cause, status, health):
    async with open_bench(failing(cause)) as bench:
        failure = sanitise((await bench.ask(chat())).terminal)
        assert (failure.status, failure.health) == (status, health)


async def test_the_free_budget_of_a_refusal_is_passed_on_even_when_zero(open_bench):
    failure = Failure(Cause.TOKEN_BUDGET_EXHAUSTED, "No.", 0)
    async with open_bench(scripted(pieces=(), reason=FinishReason.ERROR, failure=failure)) as bench:
        assert (await bench.ask(chat())).terminal.available_token_budget == 0


async def test_a_failure_after_output_keeps_what_was_sent(open_bench):
    failure = Failure(Cause.ENGINE_ERROR, "No.")
    async with open_bench(scripted(pieces=("a", "b"), reason=FinishReason.ERROR, failure=failure)) as bench:
        heard = await bench.ask(chat())
        assert heard.kinds == ["chunk", "chunk", "chunk", "error"]
        assert heard.text == "ab"
        assert heard.terminal.attempt_usage.completion_tokens == 2
        assert bench.counters.generation_errors_after_output == 1


async def test_the_death_of_the_engine_ends_every_request(open_bench, autojump_clock):
    async with open_bench(scripted(pieces=("a",) * 50, delay=1.0)) as bench:
        for number in range(5):
            bench.send(f"r{number}", chat())
        await bench.submitted(5)
        await trio.sleep(3.5)
        bench.engine.fail_all()
        await bench.desk.wait_idle()
        for number in range(5):
            assert bench.heard(f"r{number}").terminal.terminal_cause == "engine_error"
        assert bench.desk.in_flight == 0


async def test_an_unknown_model_is_refused_before_the_engine(open_bench):
    async with open_bench() as bench:
        terminal = (await bench.ask(chat(model="other"))).terminal
        assert (terminal.status_code, terminal.failure_code) == (404, "model_unavailable")
        assert bench.engine.requests == []


async def test_a_model_that_left_the_disk_is_unavailable(open_bench):
    async with open_bench() as bench:
        heard = await bench.ask(chat(model="gone"))
        assert heard.kinds == ["accepted", "error"]
        assert heard.terminal.status_code == 404


async def test_load_refusals_use_closed_words(open_bench):
    def broken(_source):
        raise LoadFailed("The folder is broken; download it again.")

    async with open_bench(load=broken, resident=False) as bench:
        terminal = (await bench.ask(chat())).terminal
        assert (terminal.status_code, terminal.error_reason) == (500, "model_load")
    assert {refusal.reason for refusal in OF_LOAD.values()} == {"model_load"}


async def test_a_model_that_does_not_fit_is_capacity(open_bench):
    from provider.memory.gate import MemoryGate
    from tests.testbed.fake_machine import EmptyAllocator, FixedMemory

    gate = MemoryGate(FixedMemory(10_000_000), EmptyAllocator())
    async with open_bench(gate=gate, resident=False) as bench:
        terminal = (await bench.ask(chat())).terminal
        assert (terminal.status_code, terminal.failure_code) == (503, "capacity")
        assert terminal.rejection_reason == "memory_cap"


async def test_a_template_that_raises_is_a_template_error(open_bench, monkeypatch):
    async with open_bench() as bench:
        tokenizer = bench.slots.get("bytes").tokenizer
        monkeypatch.setattr(type(tokenizer), "apply_chat_template", lambda *_, **__: 1 / 0)
        terminal = (await bench.ask(chat())).terminal
        assert (terminal.failure_code, terminal.error_reason) == ("template_render", "jinja_template")
        assert sanitise(terminal).status == 422


async def test_a_fault_of_our_own_is_one_internal_error(open_bench, monkeypatch, caplog):
    async with open_bench() as bench:

        def explode(_request):
            raise RuntimeError("CANARY")

        monkeypatch.setattr(bench.engine, "submit", explode)
        terminal = (await bench.ask(chat())).terminal
        assert (terminal.status_code, terminal.failure_code) == (500, "internal_failure")
        assert "CANARY" not in caplog.text


async def test_a_flipped_bit_does_not_open(open_bench, caplog):
    caplog.set_level(logging.DEBUG)
    async with open_bench() as bench:
        message = bench.asker.request("r1", chat("CANARY"))
        box = message.encrypted_body.ciphertext
        flipped = box[:60] + ("A" if box[60] != "A" else "B") + box[61:]
        bench.desk.accept(_with_box(message, flipped), _lane(bench))
        await bench.desk.wait_idle()
        terminal = bench.heard().terminal
        assert (terminal.status_code, terminal.failure_code) == (400, "encryption_failure")
        assert bench.engine.requests == []
        assert flipped[:40] not in caplog.text


@pytest.mark.parametrize(
    "payload",
    [
        None,
        EncryptedPayload(ephemeral_public_key="A" * 43 + "=", ciphertext="AAAA"),
        EncryptedPayload(ephemeral_public_key="AAAA", ciphertext="A" * 80),
        EncryptedPayload(ephemeral_public_key="not base64", ciphertext="A" * 80),
        EncryptedPayload(ephemeral_public_key="A" * 43 + "=", ciphertext="A" * 80),
    ],
)
async def test_a_malformed_box_is_an_invalid_request(open_bench, payload):
    async with open_bench() as bench:
        bench.desk.accept(InferenceRequest(request_id="r1", encrypted_body=payload), _lane(bench))
        await bench.desk.wait_idle()
        terminal = bench.heard().terminal
        assert (terminal.status_code, terminal.failure_code) == (400, "invalid_request")


async def test_a_chunk_that_cannot_be_sealed_ends_the_answer(open_bench, monkeypatch):
    sealed = 0

    def seal_twice(plaintext, shared):
        nonlocal sealed
        sealed += 1
        if sealed > 2:
            raise SealingError("key_gone")
        return seal_chunk(plaintext, shared)

    from protocol.sealing import seal_chunk

    monkeypatch.setattr("provider.requests.answer.seal_chunk", seal_twice)
    async with open_bench() as bench:
        heard = await bench.ask(chat())
        assert heard.kinds == ["chunk", "chunk", "error"]
        assert heard.terminal.failure_code == "encryption_failure"
        assert bench.counters.chunk_encryption_errors == 1
        assert bench.counters.generation_errors_after_output == 1
        await trio.testing.wait_all_tasks_blocked()
        assert bench.engine.live == 0


async def test_a_cancel_before_output_is_499(open_bench, autojump_clock):
    async with open_bench(scripted(delay=10)) as bench:
        bench.send("r1", chat())
        await bench.submitted()
        await trio.sleep(3)
        bench.desk.cancel("r1")
        await bench.desk.wait_idle()
        assert trio.current_time() == 3
        heard = bench.heard()
        assert heard.kinds == ["error"]
        assert (heard.terminal.status_code, heard.terminal.terminal_cause) == (499, "cancelled")
        assert bench.counters.cancellations_before_output == 1
        assert bench.engine.live == 0


async def test_a_cancel_after_output_settles_what_was_used(open_bench, autojump_clock):
    async with open_bench(scripted(pieces=("x",) * 2000, delay=1)) as bench:
        bench.send("r1", chat(max_tokens=2000))
        await bench.submitted()
        await trio.sleep(10.5)
        bench.desk.cancel("r1")
        bench.desk.cancel("r1")
        await bench.desk.wait_idle()
        heard = bench.heard()
        assert isinstance(heard.terminal, InferenceComplete)
        assert 10 <= heard.terminal.usage.completion_tokens <= 12
        assert heard.text == "x" * 10
        assert bench.counters.cancellations_partial_complete == 1
        assert bench.engine.live == 0


async def test_a_cancel_in_the_turn_of_receipt_is_499(open_bench):
    async with open_bench() as bench:
        bench.send("r1", chat())
        bench.desk.cancel("r1")
        await bench.desk.wait_idle()
        assert bench.heard().terminal.status_code == 499
        assert bench.engine.requests == []


async def test_a_cancel_during_a_load_is_499_and_the_load_goes_on(open_bench):
    begun, go = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def slow(source):
        from tests.testbed.byte_model import byte_model

        token.run_sync_soon(begun.set)
        go.wait(5)
        return byte_model(source.model_id)

    async with open_bench(load=slow, resident=False) as bench:
        bench.send("r1", chat())
        await begun.wait()
        bench.desk.cancel("r1")
        await bench.desk.wait_idle()
        heard = bench.heard()
        assert heard.kinds == ["accepted", "error"]
        assert heard.terminal.status_code == 499
        assert bench.counters.cancel_during_model_load == 1
        go.set()
        assert (await bench.ask(chat(), "r2")).text == "Hello"


async def test_a_cancel_of_an_unknown_id_is_counted_only(open_bench):
    async with open_bench() as bench:
        bench.desk.cancel("nobody")
        await bench.ask(chat())
        bench.desk.cancel("r1")
        assert bench.counters.cancels_unknown == 2
        assert len(bench.heard().terminals) == 1


async def test_a_duplicate_id_is_ignored(open_bench, autojump_clock):
    async with open_bench(scripted(delay=1)) as bench:
        bench.send("r1", chat())
        bench.send("r1", chat("again"))
        await bench.desk.wait_idle()
        assert bench.counters.duplicates_ignored == 1
        bench.asker.hear([])
        assert len([frame for frame in bench.frames if b"inference_complete" in frame]) == 1
        assert len(bench.engine.requests) == 1


async def test_draining_refuses_new_requests_and_finishes_old_ones(open_bench, autojump_clock):
    async with open_bench(scripted(delay=1)) as bench:
        bench.send("old", chat())
        await bench.submitted()
        bench.desk.close_admission()
        bench.send("new", chat())
        refused = bench.heard("new").terminal
        assert (refused.status_code, refused.error_reason) == (503, "draining")
        await bench.desk.wait_idle()
        assert bench.heard("old").text == "Hello"


async def test_a_drain_that_begins_while_a_body_is_opened_refuses_it(open_bench):
    async with open_bench() as bench:
        bench.send("r1", chat("x" * 100_000))
        await trio.lowlevel.checkpoint()
        bench.desk.close_admission()
        await bench.desk.wait_idle()
        assert bench.heard().terminal.error_reason == "draining"
        assert bench.desk.in_flight == 0


async def test_a_large_body_is_opened_on_a_thread(open_bench):
    async with open_bench() as bench:
        heard = await bench.ask(chat("x" * 100_000))
        assert heard.terminal.error_reason == "request_exceeds_context"


async def test_too_many_requests_at_once_are_refused(open_bench, autojump_clock):
    async with open_bench(scripted(delay=1000)) as bench:
        for number in range(257):
            bench.send(f"r{number}", chat())
        terminal = bench.heard("r256").terminal
        assert (terminal.status_code, terminal.error_reason) == (429, "queue_full")


async def test_the_deadline_is_checked_before_the_engine(open_bench):
    async with open_bench() as bench:
        bench.send("r1", chat(), budget_ms=500)
        bench.clock.now += 0.6
        await bench.desk.wait_idle()
        terminal = bench.heard().terminal
        assert (terminal.status_code, terminal.error_reason) == (503, "deadline_unreachable")
        assert bench.engine.requests == []


async def test_the_deadline_reaches_the_engine(open_bench):
    async with open_bench() as bench:
        await bench.ask(chat(), budget_ms=1500)
        assert bench.engine.requests[0].deadline == bench.clock.now + 1.5
        await bench.ask(chat(), "r2")
        assert bench.engine.requests[1].deadline is None


async def test_a_lost_connection_ends_its_requests_silently(open_bench, autojump_clock):
    one, two = object(), object()
    async with open_bench(scripted(pieces=("x",) * 10, delay=1)) as bench:
        bench.send("r1", chat(), owner=one)
        bench.send("r2", chat(), owner=two)
        await bench.submitted(2)
        await trio.sleep(2.5)
        bench.desk.drop_lane(one)
        await bench.desk.wait_idle()
        assert bench.heard("r1").terminals == []
        assert bench.heard("r2").text == "x" * 10
        assert bench.counters.stream_closed_without_terminal == 1
        assert bench.engine.live == 0


async def test_nobody_reads_so_the_engine_is_paused(open_bench, autojump_clock):
    limits = EngineLimits(window_events=32, backpressure_timeout=10_000)
    async with open_bench(scripted(pieces=[f"{n};" for n in range(1000)]), limits=limits) as bench:
        outbox = Outbox()
        lane = outbox.lane(None)
        bench.desk.accept(bench.asker.request("r1", chat(max_tokens=1000)), lane)
        await bench.submitted()
        await trio.sleep(1)
        assert lane.queued == REQUEST_FRAMES
        row = next(iter(bench.engine._live.values()))[0]
        assert row.window.posted <= REQUEST_FRAMES + 2 * 32
        frames = []
        while bench.desk.live:
            with trio.move_on_after(1):
                frames += await outbox.take()
        with trio.move_on_after(1):
            while True:
                frames += await outbox.take()
        heard = bench.asker.hear(frames)["r1"]
        assert heard.text == "".join(f"{n};" for n in range(1000))
        assert isinstance(heard.terminal, InferenceComplete)


async def test_a_cancel_is_heard_while_nobody_reads(open_bench, autojump_clock):
    async with open_bench(scripted(pieces=("x",) * 2000), limits=EngineLimits(window_events=16)) as bench:
        outbox = Outbox()
        lane = outbox.lane(None)
        bench.desk.accept(bench.asker.request("r1", chat()), lane)
        await bench.submitted()
        with trio.fail_after(60):
            while lane.queued < REQUEST_FRAMES:
                await trio.sleep(0.01)
        await trio.testing.wait_all_tasks_blocked()
        assert bench.desk.live == 1
        bench.desk.cancel("r1")
        with trio.fail_after(1):
            await bench.desk.wait_idle()
        assert bench.engine.live == 0
        assert lane.queued <= REQUEST_FRAMES + 2
        while outbox.unsent_requests:
            bench.frames += await outbox.take()
        heard = bench.heard()
        assert heard.terminal.TYPE == "inference_complete"
        assert set(heard.text) == {"x"}
        hasher = ResponseHasher("r1")
        hasher.add_text(heard.text)
        assert heard.terminal.response_hash == hasher.finish(heard.terminal.usage.completion_tokens)


@pytest.mark.parametrize("place", ["_refuses_now", "admit"])
async def test_a_fault_of_the_desk_ends_one_request_in_words(open_bench, monkeypatch, caplog, place):
    async with open_bench() as bench:

        def explode(_self):
            monkeypatch.undo()
            raise RuntimeError("CANARY")

        monkeypatch.setattr(type(bench.desk), place, explode)
        terminal = (await bench.ask(chat())).terminal
        assert (terminal.status_code, terminal.failure_code) == (500, "internal_failure")
        assert (await bench.ask(chat(), "r2")).text == "Hello"
        assert bench.desk.live == bench.desk.in_flight == 0
    assert "CANARY" not in caplog.text


async def test_a_terminal_that_cannot_be_written_becomes_one_that_can(open_bench, monkeypatch, caplog):
    import provider.requests.life

    async with open_bench() as bench:

        def explode(_message):
            monkeypatch.undo()
            raise RuntimeError("CANARY")

        monkeypatch.setattr(provider.requests.life, "encode", explode)
        assert (await bench.ask(chat())).terminal.failure_code == "internal_failure"
        assert bench.desk.live == bench.desk.in_flight == 0
    assert "CANARY" not in caplog.text


async def test_a_cold_model_is_not_promised_while_memory_is_short(open_bench):
    from tests.testbed.fake_machine import roomy_gate

    gate = roomy_gate()
    async with open_bench(gate=gate, resident=False) as bench:
        gate.is_closed = True
        heard = await bench.ask(chat())
        assert heard.kinds == ["error"]
        terminal = heard.terminal
        assert (terminal.status_code, terminal.error_reason) == (503, "capacity_busy")
        gate.is_closed = False
        assert (await bench.ask(chat(), "r2")).text == "Hello"


async def test_no_prompt_leaves_by_logs_or_errors(open_bench, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    canary = "CANARY-7f3a"
    async with open_bench() as bench:
        await bench.ask(chat(canary), "ok")
        await bench.ask(chat(canary, temperature=9), "range")
        await bench.ask(b'{"model": "bytes", "messages": "' + canary.encode() + b'"', "json")
        await bench.ask({**chat(), "messages": [{"role": canary, "content": canary}]}, "role")
        tokenizer = bench.slots.get("bytes").tokenizer

        def leak(_self, messages, **_context):
            raise ValueError(str(messages))

        monkeypatch.setattr(type(tokenizer), "apply_chat_template", leak)
        await bench.ask(chat(canary), "template")
        for name in ("range", "json", "role", "template"):
            assert isinstance(bench.heard(name).terminal, InferenceError)
    assert canary not in caplog.text
    assert canary.encode() not in b"".join(bench.frames)


async def test_the_load_of_the_machine_is_announced(open_bench):
    async with open_bench() as bench:
        await bench.ask(chat())
        assert bench.changes >= 2


async def test_unusable_biases_are_counted(open_bench):
    async with open_bench() as bench:
        await bench.ask(chat(logit_bias={"5": 1, "x": 2, "99999": 3}))
        assert bench.engine.requests[0].sampling.logit_bias == ((5, 1.0),)
        assert bench.counters.biases_dropped == 2


def _with_box(message, ciphertext):
    payload = EncryptedPayload(ephemeral_public_key=message.encrypted_body.ephemeral_public_key, ciphertext=ciphertext)
    return InferenceRequest(request_id=message.request_id, encrypted_body=payload)


def _lane(bench):
    class Lane:
        owner = None

        def put(self, frame):
            bench.frames.append(frame)

        async def room(self):
            await trio.lowlevel.checkpoint()

        def hurry(self):
            raise AssertionError("nobody cancels here")

    return Lane()
