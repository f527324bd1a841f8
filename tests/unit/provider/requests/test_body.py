"""Bodies: ranges, normalisation, and refusal without a trace."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.requests.body import MAX_STOPS, Order, parse_order, within_vocabulary
from provider.requests.demands import ANY_TOOL
from provider.requests.messages import normalise_messages, without_harmony
from provider.requests.refusal import RequestRefused
from provider.requests.tool_schema import normalise_schema, normalise_tools
from tests.testbed.sealed_asker import chat

TOOLS = [{"type": "function", "function": {"name": "f"}}]


def order(**fields):
    return parse_order(json.dumps({**chat(), **fields}).encode())


def refusal_of(body):
    with pytest.raises(RequestRefused) as refused:
        parse_order(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None or refused.value.__suppress_context__
    return refused.value.refusal


def test_defaults():
    plain = order()
    assert plain.max_tokens == 4096
    assert plain.sampling.temperature == 0.0
    assert plain.sampling.top_p == 1.0
    assert plain.sampling.seed is None
    assert plain.stop == ()


def test_null_means_absent():
    names = ("max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "n", "tools", "logit_bias", "endpoint")
    assert order(**dict.fromkeys(names)) == order()


def test_parameters_are_taken():
    taken = order(
        max_tokens=7,
        temperature=1,
        top_p=0.5,
        top_k=40,
        min_p=0.1,
        repetition_penalty=1.1,
        frequency_penalty=-2,
        presence_penalty=2,
        seed=-5,
        stop=["a", "", "b"],
        logit_bias={"3": -100, "x": 1},
        chat_template_kwargs={"enable_thinking": False},
    )
    sampling = taken.sampling
    assert (taken.max_tokens, taken.stop, taken.biases_dropped) == (7, ("a", "b"), 1)
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (1.0, 0.5, 40, 0.1)
    assert (sampling.repetition_penalty, sampling.frequency_penalty, sampling.presence_penalty) == (1.1, -2.0, 2.0)
    assert (sampling.seed, sampling.logit_bias) == (-5, ((3, -100.0),))
    assert taken.template_arguments == {"enable_thinking": False}


@pytest.mark.parametrize(
    ("choice", "offered", "forced"),
    [
        (None, 1, None),
        ("auto", 1, None),
        ("none", 0, None),
        ("required", 1, ANY_TOOL),
        ({"type": "required"}, 1, ANY_TOOL),
        ({"type": "function", "function": {"name": "f"}}, 1, "f"),
        ({"type": "function", "name": "f"}, 1, "f"),
    ],
)
def test_the_choice_of_a_tool(choice, offered, forced):
    taken = order(tools=TOOLS, tool_choice=choice)
    assert (len(taken.tools), taken.forced_tool) == (offered, forced)


def test_the_form_of_the_answer():
    taken = order(
        logprobs=True,
        top_logprobs=4,
        parallel_tool_calls=False,
        tool_call_parser="qwen3_coder",
        response_format={"type": "json_schema", "json_schema": {"schema": {"type": "array"}, "strict": True}},
    )
    assert (taken.logprobs, taken.one_call, taken.tool_parser) == (4, True, "qwen3_coder")
    assert (taken.structure.text, taken.structure.is_strict) == ('{"type":"array"}', True)
    assert order(logprobs=True).logprobs == 0
    assert order(logprobs=False).logprobs is None
    assert order(response_format={"type": "text"}).structure is None
    assert order(response_format={"type": "json_object"}).structure.text == '{"type":"object"}'


@pytest.mark.parametrize(
    ("fields", "context"),
    [
        ({"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
        ({"reasoning_effort": "none"}, {"reasoning_effort": "none", "enable_thinking": False}),
        ({"reasoning": {"enabled": True, "effort": "high"}}, {"reasoning_effort": "high", "enable_thinking": True}),
        (
            {"chat_template_kwargs": {"enable_thinking": False}, "reasoning": {"enabled": True}},
            {"enable_thinking": False},
        ),
    ],
)
def test_reasoning_goes_into_the_template(fields, context):
    assert order(**fields).template_arguments == context


def test_the_newer_name_of_the_bound_is_read():
    assert order(max_completion_tokens=9).max_tokens == 9
    assert order(max_tokens=0).max_tokens == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": []},
        {"messages": None},
        {"messages": "hi"},
        {"messages": [{"role": "nobody", "content": "x"}]},
        {"messages": [{"content": "x"}]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": None}]},
        {"messages": [{"role": "user", "content": 5}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]},
        {"messages": [{"role": "user", "content": ["x"]}]},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]},
        {"messages": [{"role": "assistant", "tool_calls": "x"}]},
        {"max_tokens": -1},
        {"max_tokens": 1.5},
        {"max_tokens": "5"},
        {"n": 2},
        {"best_of": 3},
        {"top_logprobs": 3},
        {"top_logprobs": 3, "logprobs": False},
        {"temperature": 2.01},
        {"temperature": -0.01},
        {"temperature": "hot"},
        {"top_p": 0},
        {"top_p": 1.01},
        {"min_p": 2},
        {"frequency_penalty": 2.5},
        {"repetition_penalty": 0},
        {"logit_bias": {"1": 101}},
        {"seed": 1.5},
        {"stop": ["x"] * (MAX_STOPS + 1)},
        {"stop": 5},
        {"model": ""},
        {"model": None},
        {"endpoint": "/v1/embeddings"},
        {"endpoint": "/v1/completions"},
        {"endpoint": "/v1/completions", "prompt": ["a", "b"]},
        {"tools": [{"type": "function"}]},
        {"logprobs": 3},
        {"tool_choice": "required"},
        {"tool_choice": "sometimes", "tools": TOOLS},
        {"tool_choice": {"type": "function", "function": {"name": "g"}}, "tools": TOOLS},
        {"tool_choice": {"type": "function"}, "tools": TOOLS},
        {"tool_call_parser": "bogus"},
        {"response_format": {"type": "yaml"}},
        {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"description": "x" * 70_000}}}},
        {"response_format": {"type": "json_object"}, "tools": TOOLS, "tool_choice": "required"},
        {"endpoint": "/v1/completions", "prompt": "a", "logprobs": 2},
    ],
)
def test_bad_fields_are_invalid_requests(fields):
    assert refusal_of({**chat(), **fields}).code == "invalid_request"


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'{"model":"a"}', b"\xff", b"[" * 100_000])
def test_broken_bodies_are_invalid_requests(body):
    assert refusal_of(body).status == 400


def test_pictures_are_unsupported_media():
    parts = [{"type": "text", "text": "what is"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    refusal = refusal_of(chat() | {"messages": [{"role": "user", "content": parts}]})
    assert (refusal.status, refusal.code) == (400, "unsupported_media")


@given(
    st.dictionaries(
        st.sampled_from(["model", "messages", "prompt", "endpoint", "stop", "n", "tools", "logit_bias", "max_tokens"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
            max_leaves=8,
        ),
    )
)
def test_any_json_is_an_order_or_a_refusal(body):
    try:
        result = parse_order(json.dumps(body).encode())
    except RequestRefused as refused:
        result = refused.refusal
    assert isinstance(result, Order) or result.status == 400


@given(st.binary(max_size=200))
def test_any_bytes_are_an_order_or_a_refusal(body):
    with pytest.raises(RequestRefused):
        parse_order(body)


def test_an_order_does_not_show_its_content():
    assert repr(order()) == "<Order>"


def test_biases_beyond_the_vocabulary_are_dropped():
    sampling, dropped = within_vocabulary(order(logit_bias={"1": 1, "10": 2, "1e3": 3}), 10)
    assert sampling.logit_bias == ((1, 1.0),)
    assert dropped == 2


def test_messages_are_normalised():
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert normalise_messages(
        [
            {"role": "developer", "content": "be brief", "name": None},
            {"role": "user", "content": parts},
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "content": "7", "tool_call_id": "c1"},
        ]
    ) == (
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "ab"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}],
        },
        {"role": "tool", "content": "7", "tool_call_id": "c1"},
    )


@pytest.mark.parametrize(
    ("written", "read"),
    [("", {}), (None, {}), ("not json", "not json"), ("[1]", "[1]"), ({"a": 1}, {"a": 1}), ("[" * 100_000,) * 2],
)
def test_arguments_of_past_calls(written, read):
    message = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": written}}]}
    assert normalise_messages([message])[0]["tool_calls"][0]["function"]["arguments"] == read


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("plain", "plain"),
        ("<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>", "Yes."),
        ("<|channel|>final<|message|>Yes.", "Yes."),
        ("<|channel|>analysis<|message|>hm", ""),
    ],
)
def test_only_the_final_channel_of_history_is_kept(text, kept):
    assert without_harmony(text) == kept


def test_tools_that_are_no_functions_are_dropped():
    function = {"type": "function", "function": {"name": "f", "description": None, "parameters": {"properties": {}}}}
    expected = {"type": "function", "function": {"name": "f", "parameters": {"properties": {}, "type": "object"}}}
    assert normalise_tools([{"type": "web_search"}, function]) == (expected,)


@pytest.mark.parametrize(
    ("schema", "fixed"),
    [
        ({"properties": {"a": {}}}, {"properties": {"a": {"type": "string"}}, "type": "object"}),
        ({"items": {}}, {"items": {"type": "string"}, "type": "array"}),
        ({"type": ["integer", "null"]}, {"type": "integer", "nullable": True}),
        ({"type": ["integer", "string"]}, {"type": ["integer", "string"]}),
        ({"type": "string", "enum": ["a", None], "default": None}, {"type": "string", "enum": ["a"]}),
        ({"anyOf": [{}, {"type": "null"}]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"$ref": "#/x"}, {"$ref": "#/x"}),
        ({"type": "object", "additionalProperties": False}, {"type": "object", "additionalProperties": False}),
    ],
)
def test_schemas_are_completed(schema, fixed):
    assert normalise_schema(schema) == fixed


def test_a_bottomless_schema_is_refused():
    schema: dict[str, object] = {}
    for _ in range(40):
        schema = {"items": schema}
    with pytest.raises(RequestRefused):
        normalise_schema(schema)
