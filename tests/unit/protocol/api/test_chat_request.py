"""Checks of a chat request in their public order, and the body that a provider gets."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.api import ApiError, parse_chat_request
from protocol.api.estimates import message_tokens

MESSAGES = [{"role": "user", "content": "hello world"}]


def body(**members: object) -> bytes:
    return json.dumps({"model": "m", "messages": MESSAGES} | members).encode()


def refusal(text: bytes) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parse_chat_request(text)
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{bad",
        b"[]",
        b'"text"',
        b"1",
        b"null",
        b'{"model":"m","messages":[{}],}',
        b"{'model':'m'}",
        b'{"model":"m","messages":[{"role":"user","content":"x"}]} {}',
        b"\x00\xff\xfe",
        b'{"model":"m","messages":[{"content":"\xff"}]}',
        b'{"model":"m","messages":[{"content":"\\ud800"}]}',
        b'{"model":"m","messages":[{}],"x":"\xff"}',
        b'{"model":"m","messages":[{}],"x":' + b"[" * 50_000,
        b'{"model":"m","messages":[{}],"x":NaN}',
    ],
)
def test_parse_unreadable_body_is_400(text: bytes) -> None:
    error = refusal(text)
    assert (error.status, error.error_type, error.param) == (400, "invalid_request_error", None)


@pytest.mark.parametrize(
    ("text", "param"),
    [
        (json.dumps({"messages": MESSAGES}).encode(), "model"),
        (body(model=""), "model"),
        (body(model=7), "model"),
        (b'{"model":"m"}', "messages"),
        (body(messages=[]), "messages"),
        (body(messages={}), "messages"),
        (body(messages=["hi"]), "messages"),
        (body(max_tokens=-1), "max_tokens"),
        (body(max_tokens="5"), "max_tokens"),
        (body(max_tokens=1.5), "max_tokens"),
        (body(max_tokens=True), "max_tokens"),
        (body(max_completion_tokens=-2), "max_completion_tokens"),
        (body(max_output_tokens=2**63), "max_output_tokens"),
        (body(n=2), "n"),
        (body(n=0), "n"),
        (body(n="1"), "n"),
        (body(temperature=2.01), "temperature"),
        (body(temperature="hot"), "temperature"),
        (body(top_p=1.1), "top_p"),
        (body(logprobs=1), "logprobs"),
        (body(top_logprobs=21, logprobs=True), "top_logprobs"),
        (body(top_logprobs=3), "top_logprobs"),
        (body(seed=1.5), "seed"),
        (body(parallel_tool_calls="no"), "parallel_tool_calls"),
        (body(stop=5), "stop"),
        (body(stop=["a", 1]), "stop"),
        (body(stop=["a"] * 17), "stop"),
        (body(stop="a" * 4097), "stop"),
        (body(logit_bias={str(token): 1 for token in range(4097)}), "logit_bias"),
        (body(response_format={"type": "json_schema", "json_schema": {"name": "x"}}), "response_format"),
        (
            body(
                tools=[{"type": "function", "function": {"name": "f"}}],
                tool_choice="required",
                response_format={"type": "json_object"},
            ),
            "response_format",
        ),
        (body(tools={}), "tools"),
        (body(tools=["x"]), "tools[0]"),
        (body(tool_choice="maybe"), "tool_choice"),
        (body(tool_choice="function", tools=[{"type": "function"}]), "tool_choice"),
        (body(tools=[{"type": "function"}] * 65), "tools"),
        (body(tool_choice="required"), "tool_choice"),
        (
            body(
                tools=[{"type": "function", "function": {"name": "f"}}],
                tool_choice="required",
                stop=["1", "2", "3", "4", "5"],
            ),
            "stop",
        ),
    ],
)
def test_parse_bad_member_names_it(text: bytes, param: str) -> None:
    error = refusal(text)
    assert (error.status, error.error_type, error.param) == (400, "invalid_request_error", param)


def test_a_byte_order_mark_is_ignored() -> None:
    assert parse_chat_request(b"\xef\xbb\xbf" + body()).public_model == "m"


def test_parse_earlier_check_wins() -> None:
    assert refusal(b'{"max_tokens":-1,"n":2}').param == "model"
    assert refusal(b'{"model":"m","max_tokens":-1,"n":2}').param == "max_tokens"
    assert refusal(b'{"model":"m","n":2}').param == "messages"


def test_parse_allow_list_runs_between_model_and_bounds() -> None:
    def forbid(model: str) -> None:
        raise ApiError(403, "model_not_allowed", f"Not {model}.", param="model")

    with pytest.raises(ApiError) as caught:
        parse_chat_request(body(max_tokens=-1), check_model=forbid)
    assert caught.value.status == 403
    with pytest.raises(ApiError) as caught:
        parse_chat_request(b'{"messages":[]}', check_model=forbid)
    assert caught.value.param == "model"


def test_parse_body_over_the_cap_is_413() -> None:
    with pytest.raises(ApiError) as caught:
        parse_chat_request(body(), limit_bytes=10)
    assert (caught.value.status, caught.value.code) == (413, "payload_too_large")


def test_provider_body_over_the_cap_is_413() -> None:
    request = parse_chat_request(body())
    with pytest.raises(ApiError) as caught:
        request.provider_body("a-much-longer-build-name", 8192, limit_bytes=len(body()))
    assert caught.value.status == 413


def test_provider_body_keeps_numbers_digit_for_digit() -> None:
    raw = (
        b'{"model":"m","messages":[{"role":"user","content":"a<b>&\\u00e9"}],"temperature":0.1000,'
        b'"tools":[{"type":"function","function":{"name":"f","parameters":{"const":9007199254740993,"x":1.50e+3}}}]}'
    )
    sent = parse_chat_request(raw).provider_body("build", 5)
    assert b'"temperature":0.1000' in sent
    assert b'"const":9007199254740993,"x":1.50e+3' in sent
    assert b'"a<b>&\\u00e9"' in sent


def test_provider_body_rewrites_what_is_ours_and_strips_what_is_private() -> None:
    request = parse_chat_request(
        body(
            max_completion_tokens=50,
            stop="X",
            user="u",
            metadata={"a": "b"},
            provider={"x": 1},
            provider_serial="s",
            provider_serials=["s"],
            endpoint="/v1/completions",
            metadata_details=True,
            safety_identifier="i",
            prompt_cache_key="k",
            novel_field={"kept": [1]},
            stream="yes",
        )
    )
    assert request.wants_metadata
    assert request.stream is False
    assert json.loads(request.provider_body("org/build", request.output_bound())) == {
        "model": "org/build",
        "messages": MESSAGES,
        "max_completion_tokens": 50,
        "max_tokens": 50,
        "stop": ["X"],
        "novel_field": {"kept": [1]},
        "stream": False,
    }


@pytest.mark.parametrize(
    ("members", "limit", "bound"),
    [
        ({}, None, 8192),
        ({}, 4096, 4096),
        ({"max_tokens": 0}, None, 8192),
        ({"max_tokens": None, "max_completion_tokens": 50}, None, 50),
        ({"max_tokens": 7, "max_completion_tokens": 50}, None, 7),
        ({"max_output_tokens": 9}, None, 9),
        ({"max_tokens": 100_000}, 4096, 4096),
        ({"max_tokens": 10}, 4096, 10),
        ({"max_tokens": 2**63 - 1}, None, 2**31 - 1),
    ],
)
def test_output_bound_cases(members: dict[str, object], limit: int | None, bound: int) -> None:
    assert parse_chat_request(body(**members)).output_bound(limit) == bound


def test_estimates_of_the_reference_vector() -> None:
    request = parse_chat_request(b'{"model":"m","messages":[{"role":"user","content":"hello world"}]}')
    assert request.prompt_tokens_estimate == 6
    assert request.prompt_tokens_hold == 121


@pytest.mark.parametrize("name", ["chat_template_kwargs", "reasoning", "reasoning_effort", "documents", "tools"])
def test_all_that_a_template_may_show_is_held(name: str) -> None:
    text = "x" * 5000
    shown: object = {
        "reasoning_effort": text,
        "tools": [{"type": "function", "function": {"name": "f", "description": text}}],
        "documents": [text],
    }.get(name, {"effort": text})
    assert parse_chat_request(body(**{name: shown})).prompt_tokens_hold > 5000


def test_no_chance_at_all_is_the_most_likely_token() -> None:
    sent = json.loads(parse_chat_request(body(top_p=0, top_k=40)).provider_body("b", 5))
    assert (sent["top_p"], sent["top_k"]) == (1, 1)


@pytest.mark.parametrize(
    "text",
    [
        body(x=[[]] * 262_144),
        body(messages=[{}] * 262_144),
        body(**{f"member{index}": 1 for index in range(1023)}),
    ],
    ids=["arrays", "messages", "members"],
)
def test_a_body_of_too_many_parts_is_413(text: bytes) -> None:
    error = refusal(text)
    assert (error.status, error.code) == (413, "payload_too_large")


def test_estimates_of_parts() -> None:
    content = [
        {"type": "text", "text": "x" * 40},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "video_url", "video_url": {"url": "data:"}},
    ]
    request = parse_chat_request(body(messages=[{"role": "user", "content": content}, {"role": "user", "content": ""}]))
    assert request.prompt_tokens_estimate == 4 + 10 + 300 + 1500 + 4
    assert request.has_media


def test_estimates_of_unusual_content() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"arguments": "x" * 100}}]}
    parts = {"role": "user", "content": [{"type": "input_audio", "data": "y" * 400}]}
    request = parse_chat_request(body(messages=[message, parts], tools=[{"type": "other", "x": "z" * 400}]))
    assert request.prompt_tokens_estimate > 2 * 4 + 25 + 100 + 100
    assert request.prompt_tokens_hold > 400 + 64 + 2 * 16
    assert message_tokens({"role": "user", "content": {"k": "v" * 100}}) > 4 + 25
    assert message_tokens({"role": "user", "content": ["plain text here"]}) == 4 + 3


def test_traits_of_tools() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    named = {"type": "function", "function": {"name": "f"}}
    cases: list[tuple[object, bool, bool]] = [
        (None, True, False),
        ("auto", True, False),
        ("none", False, False),
        ("required", True, True),
        (named, True, True),
        ({"type": "auto"}, True, False),
    ]
    for choice, has_tools, forces in cases:
        request = parse_chat_request(body(tools=tools, tool_choice=choice))
        assert (request.has_tools, request.forces_tool) == (has_tools, forces)


@given(
    st.dictionaries(
        st.text().map("x-{}".format),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=5,
        ),
        max_size=4,
    )
)
def test_provider_body_passes_unknown_members_verbatim(members: dict[str, object]) -> None:
    sent = json.loads(parse_chat_request(body(**members)).provider_body("b", 1))
    assert {name: sent[name] for name in members} == members


@given(st.binary(max_size=60))
def test_parse_never_breaks_on_noise(noise: bytes) -> None:
    try:
        parse_chat_request(noise)
    except ApiError as error:
        assert error.status == 400  # noqa: PT017 - noise may also be a request, which is fine


def test_repr_holds_no_prompt() -> None:
    assert "hello world" not in repr(parse_chat_request(body()))


def test_raw_members_are_not_copied_into_the_estimates() -> None:
    request = parse_chat_request(body())
    assert isinstance(request.fields["messages"], msgspec.Raw)
