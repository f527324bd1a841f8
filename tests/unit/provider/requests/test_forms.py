"""Requests that ask for more than text: reasoning, tools, structure, log-probabilities, prefixes."""

import json
from dataclasses import replace

import pytest

from protocol.messages.to_provider import InferenceRequest
from provider.engine import FinishReason
from provider.engine.dialect import Dialect
from provider.engine.grammar import GrammarRefused
from provider.requests.desk import RequestDesk
from tests.testbed.byte_model import ByteTokenizer, byte_model
from tests.testbed.fake_engine import Script
from tests.testbed.sealed_asker import chat

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
CALL = ["<tool", '_call>{"name":"f","arguments":{"a":1}}', "</tool_call>"]
THINK = Dialect(think=("<think>", "</think>"))
OBJECT = {"response_format": {"type": "json_object"}}


class Compiler:
    """Remembers what it compiled; `refuses` everything."""

    def __init__(self, refuses=False):
        self.refuses = refuses
        self.check = None
        self.sources = []

    def compile(self, source):
        self.sources.append(source)
        if self.refuses:
            raise GrammarRefused("not")
        return object()

    def check_of(self, source):
        return self.check


def opening(open_bench, pieces, *, dialect=None, grammars=None, **fields):
    def load(source):
        return replace(byte_model(source.model_id), dialect=dialect or Dialect(), grammars=grammars)

    def script(request):
        return Script() if request.warm_up else Script(pieces=pieces, **fields)

    return open_bench(script, load=load)


def deltas(heard):
    events = [json.loads(event.removeprefix(b"data: ")) for event in heard.events[:-1]]
    return [choice["delta"] for event in events for choice in event["choices"]], events


async def test_reasoning_is_counted_in_the_terminal(open_bench):
    async with opening(open_bench, ["<think>", "hm", "</think>", "yes"], dialect=THINK) as bench:
        heard = await bench.ask(chat())
        found, events = deltas(heard)
    assert {"reasoning_content": "hm"} in found
    assert {"content": "yes"} in found
    assert heard.terminal.usage.reasoning_tokens == 2
    assert events[-1]["usage"]["completion_tokens_details"]["reasoning_tokens"] == 2


async def test_a_tool_call_ends_the_turn(open_bench):
    async with opening(open_bench, CALL) as bench:
        heard = await bench.ask(chat(tools=TOOLS))
        found, _ = deltas(heard)
        assert found[1]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a":1}'}
        assert b'"finish_reason":"tool_calls"' in heard.events[-3]
        assert heard.kinds[-1] == "complete"
        assert bench.counters.requests_served == 1


async def test_a_spoiled_call_is_counted(open_bench):
    async with opening(open_bench, ["<tool_call>{", "</tool_call>"]) as bench:
        heard = await bench.ask(chat(tools=TOOLS))
        assert heard.text == "{"
        assert bench.counters.tool_calls_spoiled == 1


async def test_a_forced_tool_that_is_not_called_is_422_with_its_usage(open_bench):
    async with opening(open_bench, ["no"]) as bench:
        heard = await bench.ask(chat(tools=TOOLS, tool_choice="required"))
        terminal = heard.terminal
        assert (terminal.status_code, terminal.failure_code) == (422, "generation_failure")
        assert terminal.error_reason == "tool_noncompliance"
        assert terminal.attempt_usage.completion_tokens == 2
        assert bench.counters.requests_served == 0


async def test_a_forced_tool_is_a_grammar_where_there_is_a_compiler(open_bench):
    compiler = Compiler()
    async with opening(open_bench, CALL, grammars=compiler) as bench:
        heard = await bench.ask(chat(tools=TOOLS, tool_choice={"type": "function", "function": {"name": "f"}}))
        assert heard.kinds[-1] == "complete"
        assert compiler.sources[0].kind == "lark"
        assert bench.engine.requests[-1].grammar is not None
        found, _ = deltas(heard)
        pieces = [call["function"]["arguments"] for delta in found for call in delta.get("tool_calls", ())]
        assert pieces == ["", '{"a":1}']


async def test_a_forced_tool_whose_schema_cannot_be_enforced_is_checked_at_the_end(open_bench):
    async with opening(open_bench, CALL, grammars=Compiler(refuses=True)) as bench:
        heard = await bench.ask(chat(tools=TOOLS, tool_choice="required"))
        assert heard.kinds[-1] == "complete"
        assert bench.engine.requests[-1].grammar is None
        found, _ = deltas(heard)
        assert [len(delta["tool_calls"]) for delta in found if "tool_calls" in delta] == [1]


@pytest.mark.parametrize("compiler", [None, Compiler(refuses=True)])
async def test_a_structure_that_cannot_be_enforced_is_400(open_bench, compiler):
    async with opening(open_bench, ["x"], grammars=compiler) as bench:
        terminal = (await bench.ask(chat(**OBJECT))).terminal
        assert (terminal.status_code, terminal.failure_code) == (400, "invalid_request")
        assert bench.engine.requests == []


class Shape:
    def fits(self, text):
        return text == "[1,2]"


@pytest.mark.parametrize(("pieces", "kind"), [(["[1", ",2]"], "complete"), (["[1,", "1]"], "error")])
async def test_what_a_grammar_cannot_enforce_is_checked_at_the_end(open_bench, pieces, kind):
    compiler = Compiler()
    compiler.check = Shape()
    async with opening(open_bench, pieces, grammars=compiler) as bench:
        heard = await bench.ask(chat(**OBJECT))
        assert heard.kinds[-1] == kind
        if kind == "error":
            assert (heard.terminal.status_code, heard.terminal.error_reason) == (422, "tool_noncompliance")
            assert heard.terminal.attempt_usage.completion_tokens == 3


async def test_a_structure_begins_after_the_reasoning(open_bench):
    async with opening(open_bench, ["{}"], dialect=THINK, grammars=Compiler()) as bench:
        await bench.ask(chat(**OBJECT))
        begin = bench.engine.requests[-1].grammar.begin
        assert (bytes(begin.opens), bytes(begin.closes)) == (b"<think>", b"</think>")
        assert not begin.is_open


async def test_a_prompt_that_opens_the_reasoning_is_known(open_bench):
    class Opening(ByteTokenizer):
        def apply_chat_template(self, messages, **context):
            return super().apply_chat_template(messages, **context) + "<think>\n"

    def load(source):
        return replace(byte_model(source.model_id), dialect=THINK, grammars=Compiler(), tokenizer=Opening())

    async with open_bench(lambda _: Script(pieces=["hm", "</think>", "{}"]), load=load) as bench:
        found, _ = deltas(await bench.ask(chat(**OBJECT)))
        assert {"reasoning_content": "hm"} in found
        assert {"content": "{}"} in found
        assert bench.engine.requests[-1].grammar.begin.is_open


async def test_logprobs_are_asked_of_the_engine(open_bench):
    async with opening(open_bench, ["x"]) as bench:
        await bench.ask(chat(logprobs=True, top_logprobs=3))
        assert bench.engine.requests[-1].logprobs == 3


async def test_the_scope_of_the_message_alone_selects_stored_prefixes(open_bench):
    async with opening(open_bench, ["x"]) as bench:
        await bench.ask(chat(user="me", prompt_cache_key="mine"), "plain")
        assert bench.engine.requests[-1].cache_scope == ""
        request = bench.asker.request("scoped", chat())
        scoped = InferenceRequest(request_id="scoped", encrypted_body=request.encrypted_body, cache_scope="0f" * 16)
        bench.desk.accept(scoped, bench.lane())
        await bench.desk.wait_idle()
        assert bench.engine.requests[-1].cache_scope == "0f" * 16


@pytest.mark.parametrize(("rewindable", "scope", "ends"), [(False, "0f" * 16, 1), (False, "", 0), (True, "0f" * 16, 0)])
async def test_boundaries_are_looked_for_where_they_serve(open_bench, rewindable, scope, ends):
    def load(source):
        return replace(byte_model(source.model_id), rewindable=rewindable)

    async with open_bench(lambda _: Script(pieces=["x"]), load=load) as bench:
        request = bench.asker.request("r", chat())
        scoped = InferenceRequest(request_id="r", encrypted_body=request.encrypted_body, cache_scope=scope)
        bench.desk.accept(scoped, bench.lane())
        await bench.desk.wait_idle()
        assert len(bench.engine.requests[-1].boundaries) == ends


async def test_a_drain_forgets_stored_prefixes(open_bench):
    async with opening(open_bench, ["x"]) as bench:
        assert isinstance(bench.desk, RequestDesk)
        bench.desk.close_admission()
        assert bench.engine.trims == [0.0]


async def test_an_answer_cut_by_the_length_is_no_call(open_bench):
    async with opening(open_bench, CALL[:2], reason=FinishReason.LENGTH) as bench:
        heard = await bench.ask(chat(tools=TOOLS))
        found, _ = deltas(heard)
        assert not any("tool_calls" in delta for delta in found)
        assert b'"finish_reason":"length"' in heard.events[-3]
