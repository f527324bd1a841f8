"""Whatever goes wrong with a request is one terminal in closed words."""

import logging

import pytest
import trio

from protocol.failure import sanitise
from protocol.messages.from_provider import InferenceError
from protocol.messages.to_provider import InferenceRequest
from protocol.messages.wire import EncryptedPayload
from protocol.sealing import SealingError
from provider.engine import Cause, Failure, FinishReason
from provider.models.load import LoadFailed
from provider.requests.refusal import OF_CAUSE, OF_LOAD
from tests.testbed.fake_engine import Script, finished_with
from tests.testbed.sealed_asker import chat


def scripted(**fields):
    return lambda request: Script() if request.warm_up else Script(**fields)


def failing(cause):
    return lambda request: Script() if request.warm_up else finished_with(cause)


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
