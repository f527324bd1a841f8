"""Constrained text on a random model, which left alone writes nothing like it."""

import json

import pytest
import trio

from provider.engine import FinishReason, SamplingParameters
from provider.engine.dialect import PLAIN, CallOpened, make_reader
from provider.engine.grammar import (
    JSON_OBJECT,
    Begin,
    Grammar,
    GrammarRefused,
    schema_source,
    tools_source,
)
from tests.testbed.engine_runs import collect, open_engine, request, run
from tests.testbed.needs import module

module("mlx.core")
module("llguidance")

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "kind": {"enum": ["cat", "dog"]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 4}, "maxItems": 3},
        "born": {"type": "string", "format": "date"},
        "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/leaf"}]},
    },
    "required": ["name", "age", "kind", "tags", "born", "next"],
    "additionalProperties": False,
    "$defs": {"leaf": {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}},
}


def compiled(model, source, begin=None):
    return Grammar(model.grammars.compile(source), begin or Begin())


def check_person(text):
    value = json.loads(text)
    assert list(value) == PERSON["required"]
    assert len(value["name"]) <= 12
    assert 0 <= value["age"] <= 120
    assert value["kind"] in ("cat", "dog")
    assert len(value["tags"]) <= 3
    assert len(value["born"]) == 10


async def test_every_sampled_text_fits_the_schema(tiny):
    grammar = compiled(tiny, schema_source(PERSON))
    finished = 0
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        for seed in range(3):
            sampling = SamplingParameters(temperature=1.0, seed=seed)
            wanted = request(tiny, "x", max_tokens=400, grammar=grammar, sampling=sampling)
            text, end = await run(engine, wanted)
            if end.reason is FinishReason.STOP:
                finished += 1
                check_person(text)
    assert finished >= 2


async def test_rows_with_and_without_grammar_share_a_batch(tiny):
    grammar = compiled(tiny, schema_source({"enum": ["alpha", "beta"]}))
    plain, bound = request(tiny, "hello", max_tokens=20), request(tiny, "hello", max_tokens=20, grammar=grammar)
    results = {}
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        alone = await run(engine, plain)

        async def one(place, wanted):
            results[place] = await run(engine, wanted)

        async with trio.open_nursery() as nursery:
            for place, wanted in enumerate((plain, bound, plain, bound)):
                nursery.start_soon(one, place, wanted)
    assert results[0] == results[2] == alone
    assert results[1][0] in ('"alpha"', '"beta"')
    assert results[1][1].reason is FinishReason.STOP
    assert results[1] == results[3]


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ('{"a":[1,{"b":null}]}', True),
        ('{"a": [1, {"b": null}]}', True),
        ('{\n  "a": [\n    1\n  ]\n}', True),
        ('{  "a": 1}', False),
        ('{\n\n"a": 1}', False),
        (" {}", False),
    ],
)
def test_blanks_between_the_parts_are_bounded(tiny, text, fits):
    matcher = tiny.grammars.compile(JSON_OBJECT).deep_copy()
    ids = tiny.tokenizer.encode(text, add_special_tokens=False)
    assert (matcher.consume_tokens(ids) and matcher.is_accepting()) is fits


async def test_json_object_is_an_object(tiny):
    grammar = compiled(tiny, JSON_OBJECT)
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        text, end = await run(engine, request(tiny, "x", max_tokens=300, grammar=grammar))
    assert text.startswith("{")
    if end.reason is FinishReason.STOP:
        assert isinstance(json.loads(text), dict)


async def test_a_paused_constrained_row_goes_on_where_it_was(tiny):
    grammar = compiled(tiny, schema_source(PERSON))
    wanted = request(tiny, "x", max_tokens=200, grammar=grammar, sampling=SamplingParameters(temperature=1.0, seed=5))
    async with open_engine(window_events=4) as engine:
        await engine.attach_model(tiny)
        whole = await run(engine, wanted)
        slow = engine.submit(wanted)
        with trio.fail_after(20):
            while not engine.snapshot().slots[0].paused:
                await run(engine, request(tiny, "other", max_tokens=3))
            events = [event async for event in slow]
    assert "".join(event.text for event in events[:-1]) == whole[0]


async def test_the_constraint_begins_after_the_reasoning(tiny):
    vocabulary = tiny.tokenizer.get_vocab()
    opens, closes = vocabulary["<think>"], vocabulary["</think>"]
    begin = Begin(opens=(opens,), closes=(closes,), is_open=True)
    grammar = compiled(tiny, schema_source({"const": 42}), begin)
    bias = SamplingParameters(temperature=1.0, seed=1, logit_bias=((closes, 6.0),))
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        text, end = await run(engine, request(tiny, "x", max_tokens=300, grammar=grammar, sampling=bias, marks=True))
    assert end.reason is FinishReason.STOP
    _, _, answer = text.rpartition("</think>")
    assert answer == "42"


async def test_a_forced_tool_is_called(tiny):
    digit = {"type": "integer", "minimum": 0, "maximum": 9}
    schema = {"type": "object", "properties": {"n": digit}, "required": ["n"], "additionalProperties": False}
    tools = [{"type": "function", "function": {"name": name, "parameters": schema}} for name in ("one", "two")]
    frame = ("<tool_call>", "</tool_call>")
    special = {mark: tiny.tokenizer.get_vocab()[mark] for mark in frame}
    source = tools_source(tools, frame, special=special, only="two", parallel=False)
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        wanted = request(tiny, "x", max_tokens=300, grammar=compiled(tiny, source), marks=True)
        pieces, end = await collect(engine, wanted)
    assert end.reason is FinishReason.STOP
    reader = make_reader(PLAIN, tools=tools, streams_calls=True)
    shown = [*frame[:1], *(piece.text for piece in pieces), *frame[1:]]  # its marks are tokens that show nothing
    parts = [part for piece in shown for part in reader.feed(piece)]
    assert parts[0] == CallOpened("two")
    assert len(parts) > 3
    text = "".join(piece.text for piece in pieces)
    call = json.loads(text.removeprefix("<tool_call>").removesuffix("</tool_call>"))
    assert call["name"] == "two"
    assert isinstance(call["arguments"]["n"], int)
    assert json.loads(parts[-1].arguments) == call["arguments"]


async def test_a_matcher_that_breaks_ends_its_row_alone(tiny):
    class Broken:
        def deep_copy(self):
            return self

        def is_stopped(self):
            raise RuntimeError("secret")

    bad = request(tiny, "hello", max_tokens=20, grammar=Grammar(Broken()))
    results = {}
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        alone = await run(engine, request(tiny, "hello", max_tokens=20))

        async def one(place, wanted):
            results[place] = await run(engine, wanted)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, 0, request(tiny, "hello", max_tokens=20))
            nursery.start_soon(one, 1, bad)
    assert results[0] == alone
    assert results[1][1].reason is FinishReason.ERROR
    assert results[1][1].failure.cause == "generation_failure"


def test_a_keyword_that_cannot_be_enforced_is_named(tiny):
    schema = {"type": "object", "not": {"type": "null"}}
    with pytest.raises(GrammarRefused) as caught:
        tiny.grammars.compile(schema_source(schema))
    assert caught.value.keyword == "not"
    assert "'not'" in str(caught.value)
    assert tiny.grammars.compile(schema_source(schema, is_strict=False))


@pytest.mark.parametrize(
    "schema", [{"type": "nonsense"}, {"$ref": "#/nowhere"}, {"pattern": "(", "type": "string"}, False]
)
def test_a_broken_schema_is_refused_without_its_text(tiny, schema):
    with pytest.raises(GrammarRefused) as caught:
        tiny.grammars.compile(schema_source(schema))
    assert "nonsense" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_what_is_not_enforced_is_left_to_a_check(tiny):
    module("jsonschema_rs")
    schema = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
    check = tiny.grammars.check_of(schema_source(schema, is_strict=False))
    assert check.fits("[1,2]")
    assert not check.fits("[1,1]")
    assert not check.fits("[1,")
    assert tiny.grammars.check_of(schema_source(PERSON, is_strict=False)) is None
    assert tiny.grammars.check_of(JSON_OBJECT) is None


@pytest.mark.parametrize("part", [{"$ref": "https://example.org/other"}, {"propertyNames": {"pattern": "(?=x)"}}])
def test_a_check_fetches_nothing_and_runs_no_slow_patterns(tiny, part):
    module("jsonschema_rs")
    with pytest.raises(GrammarRefused):
        tiny.grammars.check_of(schema_source({"type": "object", "not": {"type": "null"}, **part}, is_strict=False))


def test_a_compiled_grammar_is_kept(tiny):
    assert tiny.grammars.compile(JSON_OBJECT) is tiny.grammars.compile(JSON_OBJECT)
