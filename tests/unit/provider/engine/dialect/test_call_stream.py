"""Arguments that are shown while they are generated."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.engine.dialect import (
    PLAIN,
    Call,
    CallArguments,
    CallBroken,
    CallClosed,
    CallOpened,
    Content,
    Dialect,
    SpoiledCall,
    make_reader,
)
from provider.engine.dialect.calls import MAX_PAYLOAD_CHARACTERS

TOOLS = ({"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": 'né"e'}})
ARGUMENTS = '{ "a": "}\\" {\\\\", "b": [1, {"c": null}], "né": "</tool" }'


def framed(payload):
    return f"<tool_call>{payload}</tool_call>"


def read(text, sizes=(), *, is_complete=True, dialect=PLAIN, streams_calls=True):
    """The parts of `text`, given in pieces of these sizes, with the pieces of arguments joined."""
    reader = make_reader(dialect, tools=TOOLS, streams_calls=streams_calls)
    parts, at = [], 0
    for size in [*sizes, len(text)]:
        parts += reader.feed(text[at : at + size])
        at += size
    parts += reader.flush(is_complete=is_complete)
    joined = []
    for part in parts:
        if joined and type(part) is type(joined[-1]) and isinstance(part, CallArguments | Content):
            joined[-1] = type(part)(joined[-1].text + part.text)
        else:
            joined.append(part)
    return joined


@given(st.lists(st.integers(1, 12), max_size=30))
def test_any_split_shows_the_arguments_as_they_were_written(sizes):
    text = "well" + framed('\n{"name": "f", "arguments": ' + ARGUMENTS + "}\n") + " "
    text += framed('{"name":"n\\u00e9\\"e","arguments":{}}')
    assert read(text, sizes) == [
        Content("well"),
        CallOpened("f"),
        CallArguments(ARGUMENTS),
        CallClosed("f", ARGUMENTS),
        CallOpened('né"e'),
        CallArguments("{}"),
        CallClosed('né"e', "{}"),
    ]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=8,
    ),
    st.lists(st.integers(1, 5), max_size=60),
    st.booleans(),
)
def test_any_arguments_pass_whole(value, sizes, is_ascii):
    arguments = json.dumps({"value": value}, ensure_ascii=is_ascii)
    found = read(framed('{"name": "f", "arguments": ' + arguments + "}"), sizes)
    assert found == [CallOpened("f"), CallArguments(arguments), CallClosed("f", arguments)]


def test_nothing_waits_for_the_end():
    reader = make_reader(PLAIN, tools=TOOLS, streams_calls=True)
    assert reader.feed('<tool_call>{"name":"f","arguments":') == []
    assert reader.feed('{"a":"x') == [CallOpened("f"), CallArguments('{"a":"x')]
    assert reader.feed("y") == [CallArguments("y")]
    assert reader.feed('"}') == [CallArguments('"}')]
    assert reader.feed("}") == []
    assert reader.feed("</tool_call>") == [CallClosed("f", '{"a":"xy"}')]


@pytest.mark.parametrize(
    ("payload", "parts"),
    [
        ('{"arguments":{"a":1},"name":"f"}', [Call("f", '{"a":1}')]),
        ('{"name":"f","arguments":"{\\"a\\":1}"}', [Call("f", '{"a":1}')]),
        ('[{"name":"f","arguments":{}}]', [Call("f", "{}")]),
        ('{"name":"g","arguments":{}}', [Call("g", "{}")]),
        ('{"name":"f","arguments":[]}', [SpoiledCall('{"name":"f","arguments":[]}')]),
        ("oops", [SpoiledCall("oops")]),
        ('{"name":"\\ud8","arguments":{}}', [SpoiledCall('{"name":"\\ud8","arguments":{}}')]),
        (" " * 2000 + '{"name":"f","arguments":{}}', [Call("f", "{}")]),
    ],
)
def test_what_does_not_begin_like_a_call_is_read_as_a_whole(payload, parts):
    assert read(framed(payload), [7, 9, 3, 1500]) == parts


@pytest.mark.parametrize(
    "rest", ['{"a":1', '{"a":oops}}', '{"a":1}', '{"a":1}}}', '{"a":[1}}', '{"a":NaN}}', '{"a":1},"b"}']
)
def test_a_call_that_goes_wrong_after_it_was_shown_is_broken(rest):
    found = read(framed('{"name":"f","arguments":' + rest), [30])
    assert found[0] == CallOpened("f")
    assert found[-1] == CallBroken()


def test_a_call_cut_short_ends_where_it_was_cut():
    text = '<tool_call>{"name":"f","arguments":{"a":"x'
    assert read(text, [40], is_complete=False) == [CallOpened("f"), CallArguments('{"a":"x')]
    assert read(text, [40]) == [CallOpened("f"), CallArguments('{"a":"x'), CallBroken()]
    assert read(text[:20], is_complete=False) == []


def test_what_follows_a_complete_call_belongs_to_it_until_its_frame_ends():
    found = read(framed('{"name":"f","arguments":{"a":1}, "id": "x"}') + "after")
    assert found == [CallOpened("f"), CallArguments('{"a":1}'), CallClosed("f", '{"a":1}'), Content("after")]


@given(st.lists(st.integers(1, 9), max_size=30))
def test_a_closing_mark_in_a_text_is_text(sizes):
    arguments = '{"a": "use </tool_call> \\" </tool_call>"}'
    found = read(framed('{"name":"f","arguments":' + arguments + "}") + "after", sizes)
    assert found == [CallOpened("f"), CallArguments(arguments), CallClosed("f", arguments), Content("after")]


def test_a_payload_without_end_is_not_shown_for_ever():
    found = read(framed('{"name":"f","arguments":{"a":"' + "x" * MAX_PAYLOAD_CHARACTERS), [1000] * 300)
    assert found[-1] == CallBroken()
    assert len(found[1].text) <= MAX_PAYLOAD_CHARACTERS


def test_only_calls_in_json_are_shown_early_and_only_where_they_are_certain():
    text = framed('{"name":"f","arguments":{"a":1}}')
    assert read(text, streams_calls=False) == [Call("f", '{"a":1}')]
    nemotron = "<TOOLCALL>" + '{"name":"f","arguments":{"a":1}}' + "</TOOLCALL>"
    assert read(nemotron, dialect=Dialect(parser="nemotron")) == [Call("f", '{"a":1}')]
