"""The course of one request: order of frames, and one terminal on every way out."""

import json

from protocol.p256 import verify_p256
from protocol.response_hash import ResponseHasher
from tests.testbed.fake_engine import Script
from tests.testbed.sealed_asker import chat

HELLO = ["chunk"] * 6 + ["complete"]


def scripted(**fields):
    return lambda request: Script() if request.warm_up else Script(**fields)


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


async def test_a_duplicate_id_is_ignored(open_bench, autojump_clock):
    async with open_bench(scripted(delay=1)) as bench:
        bench.send("r1", chat())
        bench.send("r1", chat("again"))
        await bench.desk.wait_idle()
        assert bench.counters.duplicates_ignored == 1
        bench.asker.hear([])
        assert len([frame for frame in bench.frames if b"inference_complete" in frame]) == 1
        assert len(bench.engine.requests) == 1


async def test_a_large_body_is_opened_on_a_thread(open_bench):
    async with open_bench() as bench:
        heard = await bench.ask(chat("x" * 100_000))
        assert heard.terminal.error_reason == "request_exceeds_context"


async def test_the_deadline_reaches_the_engine(open_bench):
    async with open_bench() as bench:
        await bench.ask(chat(), budget_ms=1500)
        assert bench.engine.requests[0].deadline == bench.clock.now + 1.5
        await bench.ask(chat(), "r2")
        assert bench.engine.requests[1].deadline is None


async def test_the_load_of_the_machine_is_announced(open_bench):
    async with open_bench() as bench:
        await bench.ask(chat())
        assert bench.changes >= 2


async def test_unusable_biases_are_counted(open_bench):
    async with open_bench() as bench:
        await bench.ask(chat(logit_bias={"5": 1, "x": 2, "99999": 3}))
        assert bench.engine.requests[0].sampling.logit_bias == ((5, 1.0),)
        assert bench.counters.biases_dropped == 2
