"""Thoughts, text and tool calls out of the text of every family."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.engine.dialect import (
    PLAIN,
    Call,
    Content,
    Dialect,
    SpoiledCall,
    Thought,
    dialect_of,
    make_reader,
    starts_in_thought,
)
from tests.testbed.needs import module

THINK = Dialect(think=("<think>", "</think>"))
DEEPSEEK = Dialect(think=("<think>", "</think>"), lone_close=True)
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"properties": {"n": {"type": "integer"}}}},
}
TOOLS = (WEATHER,)
HARMONY_VOCABULARY = {
    mark: 100 + place
    for place, mark in enumerate(
        ("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>")
    )
}
HARMONY = dialect_of(model_type="gpt_oss", vocabulary=HARMONY_VOCABULARY)


def read(dialect, pieces, *, tools=(), tail="", is_complete=True):
    reader = make_reader(dialect, tools=tools, prompt_tail=tail)
    if reader is None:
        return [Content("".join(pieces))]
    found = [part for piece in pieces for part in reader.feed(piece)]
    return [*found, *reader.flush(is_complete=is_complete)]


def joined(parts):
    """Neighbouring texts of one kind as one."""
    merged = []
    for part in parts:
        if merged and isinstance(part, Content | Thought) and type(part) is type(merged[-1]):
            merged[-1] = type(part)(merged[-1].text + part.text)
        else:
            merged.append(part)
    return merged


def call(arguments, name="get_weather"):
    return Call(name, json.dumps(arguments, separators=(",", ":"), ensure_ascii=False))


def test_the_example_of_marks_across_pieces():
    parts = read(THINK, ["Hi <th", "ink>rea", "son</thi", "nk>ans"])
    assert parts == [Content("Hi "), Thought("rea"), Thought("son"), Content("ans")]


def test_an_answer_without_marks_needs_no_reader():
    assert make_reader(PLAIN) is None


@pytest.mark.parametrize(
    ("dialect", "tail", "in_thought"),
    [
        (THINK, "<|im_start|>assistant\n<think>\n", True),
        (THINK, "<think>\n\n</think>\n\n", False),
        (THINK, "<|im_start|>assistant\n", None),
        (DEEPSEEK, "<|Assistant|>", True),
        (DEEPSEEK, "<|Assistant|></think>", False),
        (PLAIN, "<think>", False),
    ],
)
def test_the_prompt_tells_where_the_answer_begins(dialect, tail, in_thought):
    assert starts_in_thought(dialect, tail) is in_thought


def test_a_prompt_that_opened_the_thought_needs_no_mark():
    parts = read(THINK, ["so\n</think>\n\nyes"], tail="assistant\n<think>\n")
    assert parts == [Thought("so\n"), Content("yes")]


def test_text_before_a_lone_closing_mark_is_thought():
    assert read(DEEPSEEK, ["hm", "</think>", "ok"]) == [Thought("hm"), Content("ok")]


def test_an_unclosed_thought_stays_a_thought():
    assert read(THINK, ["<think>still"], is_complete=False) == [Thought("still")]


def test_text_that_only_looks_like_a_mark_is_kept():
    assert joined(read(THINK, ["a <thi", "s> b <"])) == [Content("a <this> b <")]


def test_one_call():
    payload = '{"name":"get_weather","arguments":{"city":"Paris"}}'
    parts = read(PLAIN, ["<tool_call>\n", payload, "\n</tool_call>"], tools=TOOLS)
    assert parts == [call({"city": "Paris"})]


def test_a_list_is_several_calls():
    payload = '[{"name":"a","arguments":{"x":1}},{"name":"b","arguments":"{\\"y\\":2}"}]'
    assert read(PLAIN, [f"<tool_call>{payload}</tool_call>"], tools=TOOLS) == [call({"x": 1}, "a"), call({"y": 2}, "b")]


@pytest.mark.parametrize(
    "payload",
    [
        '{"name":"get_weather","arguments":{"city":"Pa',
        '{"arguments":{}}',
        '{"name":"f","arguments":[1]}',
        "[]",
        '{"name":"f","arguments":{"x":NaN}}',
        "not json",
    ],
)
def test_a_payload_that_is_no_call_is_shown(payload):
    assert read(PLAIN, [f"<tool_call>{payload}</tool_call>"], tools=TOOLS) == [SpoiledCall(payload)]


def test_a_call_that_was_cut_short_is_not_invented():
    assert read(PLAIN, ['ok <tool_call>{"name":"f","argum'], tools=TOOLS, is_complete=False) == [Content("ok ")]


@pytest.mark.parametrize(
    ("dialect", "text"),
    [(PLAIN, "<tool_c"), (Dialect(parser="nemotron"), "<TOOLC"), (Dialect(parser="llama3"), '{"name": "f", "argu')],
)
def test_a_piece_of_a_forced_call_is_no_text(dialect, text):
    for is_forced, parts in ((True, []), (False, [Content(text)])):
        reader = make_reader(dialect, tools=TOOLS, is_forced=is_forced)
        assert [*reader.feed(text), *reader.flush(is_complete=False)] == parts
    whole = make_reader(dialect, tools=TOOLS, is_forced=True)
    assert joined([*whole.feed("a<"), *whole.flush(is_complete=True)]) == [Content("a<")]


def test_half_a_surrogate_pair_in_a_call_stays_an_escape():
    payload = '{"name": "f", "arguments": {"é": "\\ud83d"}}'
    (call,) = read(PLAIN, [f"<tool_call>{payload}</tool_call>"], tools=TOOLS)
    assert json.loads(call.arguments) == {"é": "\ud83d"}
    call.arguments.encode()
    named = payload.replace('"f"', '"\\ud83d"')
    assert read(PLAIN, [f"<tool_call>{named}</tool_call>"], tools=TOOLS) == [SpoiledCall(named)]


def test_a_call_open_at_the_end_of_the_turn_counts():
    assert read(PLAIN, ['<tool_call>{"name":"f","arguments":{}}'], tools=TOOLS) == [call({}, "f")]


def test_without_tools_a_call_is_text():
    text = '<tool_call>{"name":"f","arguments":{}}</tool_call>'
    assert make_reader(PLAIN) is None
    assert joined(read(THINK, [text])) == [Content(text)]


def test_blanks_between_calls_are_left_out():
    one = '<tool_call>{"name":"f","arguments":{}}</tool_call>'
    assert read(PLAIN, [f"{one}\n{one}\n"], tools=TOOLS) == [call({}, "f"), call({}, "f")]


FAMILIES = {
    "qwen3_coder": (
        "<tool_call>\n<function=get_weather>\n<parameter=n>\n3\n</parameter>\n</function>\n</tool_call>",
        {"n": 3},
    ),
    "qwen3_5": ('<tool_call>{"name":"get_weather","arguments":{"n":3}}</tool_call>', {"n": 3}),
    "nemotron": ('<TOOLCALL>[{"name":"get_weather","arguments":{"n":3}}]</TOOLCALL>', {"n": 3}),
    "pythonic": ("<|tool_call_start|>[get_weather(n=3)]<|tool_call_end|>", {"n": 3}),
    "mistral": ('[TOOL_CALLS]get_weather[ARGS]{"n": 3}', {"n": 3}),
    "gemma4": ('<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|>', {"city": "Paris"}),
    "glm47": (
        "<tool_call>get_weather\n<arg_key>n</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
        {"n": 3},
    ),
    "kimi_k2": (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
        '{"n": 3}<|tool_call_end|><|tool_calls_section_end|>',
        {"n": 3},
    ),
    "minimax_m2": (
        '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="n">3</parameter>\n</invoke>\n'
        "</minimax:tool_call>",
        {"n": 3},
    ),
    "llama3": ('{"name": "get_weather", "parameters": {"n": 3}}', {"n": 3}),
}


@pytest.mark.parametrize("parser", FAMILIES)
def test_every_family_is_read(parser):
    module("mlx_lm")
    text, arguments = FAMILIES[parser]
    found = read(Dialect(parser=parser), [text], tools=TOOLS)
    assert [(part.name, json.loads(part.arguments)) for part in found] == [("get_weather", arguments)]


def test_llama_text_passes_and_a_call_after_the_python_tag_is_read():
    llama = Dialect(parser="llama3")
    assert joined(read(llama, [" He", "llo {"], tools=TOOLS)) == [Content(" Hello {")]
    assert read(llama, ["<|python", '_tag|>{"name":"f","parameters":{}}; {"name":"g"}'], tools=TOOLS) == [
        call({}, "f"),
        call({}, "g"),
    ]
    assert read(llama, ['{"not": "a call"}'], tools=TOOLS) == [SpoiledCall('{"not": "a call"}')]


HARMONY_ANSWER = (
    "<|channel|>analysis<|message|>User asks.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather "
    '<|constrain|>json<|message|>{"city":"Paris"}'
)


def test_harmony_channels():
    assert joined(read(HARMONY, [HARMONY_ANSWER], tools=TOOLS, tail="<|start|>assistant")) == [
        Thought("User asks."),
        call({"city": "Paris"}),
    ]
    assert joined(read(HARMONY, ["<|channel|>final<|message|>Hel", "lo"], tail="<|start|>assistant")) == [
        Content("Hello")
    ]


def test_harmony_recipient_before_the_channel():
    text = '<|start|>assistant to=functions.f<|channel|>commentary json<|message|>{"a":1}<|call|>'
    assert read(HARMONY, [text], tools=TOOLS) == [call({"a": 1}, "f")]


def test_harmony_message_that_the_prompt_opened():
    tail = "<|start|>assistant<|channel|>final<|message|>"
    assert joined(read(HARMONY, ["Hello"], tail=tail)) == [Content("Hello")]


def test_harmony_text_without_any_frame_is_shown():
    assert joined(read(HARMONY, ["plain", " text"], tail="<|start|>assistant")) == [Content("plain text")]


def test_harmony_call_that_was_cut_short_is_not_invented():
    assert read(HARMONY, [HARMONY_ANSWER[:-3]], tools=TOOLS, is_complete=False) == [Thought("User asks.")]


def test_harmony_call_with_broken_arguments_is_shown():
    text = "<|channel|>commentary to=functions.f<|message|>{oops<|call|>"
    assert read(HARMONY, [text], tools=TOOLS) == [SpoiledCall("{oops")]


KIMI = dialect_of(
    model_type="kimi_k3",
    vocabulary={mark: place for place, mark in enumerate(("<|open|>", "<|close|>", "<|sep|>", "<|end_of_msg|>"))},
    special=("<|open|>", "<|close|>", "<|sep|>", "<|end_of_msg|>"),
    think=("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
    inferred_parser="kimi_k3",
    dropped=("<|open|>response<|sep|>", "<|close|>response<|sep|>", "<|close|>message<|sep|>"),
)


def test_special_tokens_never_show_where_they_mean_nothing():
    text = "<|open|>think<|sep|>hm<|close|>think<|sep|><|open|>response<|sep|>yes<|close|>response<|sep|><|open|>"
    for size in (1, 3, 7, 500):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert joined(read(KIMI, pieces)) == [Thought("hm"), Content("yes")]
    assert KIMI.mark_ids == {0, 1, 2, 3}


def test_the_type_decides_where_the_template_says_nothing():
    def parser(model_type, **fields):
        return dialect_of(model_type=model_type, vocabulary={}, **fields).parser

    assert parser("gpt_oss") == "harmony"
    assert parser("gemma3_text") == "gemma4"
    assert parser("qwen3_5_moe") == "qwen3_5"
    assert parser("qwen3_next") == "qwen3_coder"
    assert parser("nemotron_h") == "nemotron"
    assert parser("lfm2") == "pythonic"
    assert parser("glm4_moe") == "glm47"
    assert parser("mistral3") == "mistral"
    assert parser("llama", rope_type="llama3") == "llama3"
    assert parser("llama") == "json_tools"
    assert parser("qwen3", inferred_parser="qwen3_coder") == "qwen3_coder"
    assert parser("qwen3", inferred_parser="no such parser") == "json_tools"


def test_an_unknown_parser_is_named():
    with pytest.raises(ValueError, match="'bogus' is not known"):
        PLAIN.with_parser("bogus")


ANSWERS = st.lists(
    st.sampled_from(
        [
            "<think>",
            "</think>",
            "<tool_call>",
            "</tool_call>",
            '{"name":"f","arguments":{}}',
            "text",
            "<",
            "t",
            "\n",
            "<|open|>",
        ]
    ),
    max_size=12,
).map("".join)


@pytest.mark.parametrize("dialect", [THINK, DEEPSEEK, KIMI, HARMONY, Dialect(parser="llama3")], ids=lambda d: d.parser)
@given(text=st.one_of(ANSWERS, st.text("<|>thinkchanelsrtmg {}/a\n", max_size=60)), seed=st.integers(0, 1 << 30))
def test_any_split_gives_the_same_parts(dialect, text, seed):
    dice = random.Random(seed)
    cuts = sorted(dice.sample(range(len(text) + 1), min(len(text), dice.randrange(8))))
    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = joined(read(dialect, [text], tools=TOOLS))
    assert joined(read(dialect, pieces, tools=TOOLS)) == whole
    assert joined(read(dialect, list(text), tools=TOOLS)) == whole
