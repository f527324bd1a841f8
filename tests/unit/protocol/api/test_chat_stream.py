"""The one stream that every client reads rightly, whatever the provider sends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from protocol.api import ApiError, ChatStream, UsageReport

USAGE = UsageReport(prompt_tokens=3, completion_tokens=2, reasoning_tokens=1)


def stream(*, include_usage: bool = True, requested_max: int = 100, split_think: bool = False) -> ChatStream:
    return ChatStream(
        public_model="a",
        completion_id="chatcmpl-J",
        created=1780000000,
        include_usage=include_usage,
        requested_max=requested_max,
        split_think=split_think,
    )


def event(delta: dict[str, object], finish: str | None = None, **members: object) -> bytes:
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "build", **members}
    chunk["choices"] = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def run(target: ChatStream, *plaintexts: bytes, usage: UsageReport = USAGE, **ending: Any) -> bytes:
    out = b"".join(piece.ready for text in plaintexts for piece in target.feed(text))
    return out + target.finish(usage, **ending)


def chunks(out: bytes) -> list[dict[str, Any]]:
    events = out.decode().split("\n\n")
    assert events[-1] == ""
    assert events[-2] == "data: [DONE]"
    return [json.loads(text.removeprefix("data: ")) for text in events[:-2]]


def accumulate(out: bytes) -> Any:
    state = ChatCompletionStreamState()
    for chunk in chunks(out):
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    return state.current_completion_snapshot


GOLDEN = (
    b'data: {"id":"chatcmpl-J","object":"chat.completion.chunk","created":1780000000,"model":"a","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'  # noqa: E501
    b'data: {"id":"chatcmpl-J","object":"chat.completion.chunk","created":1780000000,"model":"a","choices":[{"index":0,"delta":{"reasoning":"hm","reasoning_content":"hm","reasoning_details":[{"type":"reasoning.text","text":"hm","id":"reasoning-text-0","format":"unknown","index":0,"signature":null}]},"finish_reason":null}]}\n\n'  # noqa: E501
    b'data: {"id":"chatcmpl-J","object":"chat.completion.chunk","created":1780000000,"model":"a","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'  # noqa: E501
    b'data: {"id":"chatcmpl-J","object":"chat.completion.chunk","created":1780000000,"model":"a","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'  # noqa: E501
    b'data: {"id":"chatcmpl-J","object":"chat.completion.chunk","created":1780000000,"model":"a","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"completion_tokens_details":{"reasoning_tokens":1}},"se_signature":"c2ln","response_hash":"ab12"}\n\n'  # noqa: E501
    b"data: [DONE]\n\n"
)


def test_golden_stream_byte_for_byte() -> None:
    target = stream()
    out = run(
        target,
        event({"role": "assistant", "content": None}, usage=None, system_fingerprint=None),
        event({"reasoning": "hm"}),
        event({"content": "Hi"}),
        event({}, "stop"),
        b'data: {"id":"x","choices":[],"usage":{"prompt_tokens":99,"completion_tokens":99,"total_tokens":198}}\n\n',
        b"data: [DONE]\n\n",
        response_hash="ab12",
        se_signature="c2ln",
    )
    assert out == GOLDEN


def test_provider_done_metadata_and_noise_are_dropped_and_counted() -> None:
    target = stream(include_usage=False)
    out = run(
        target,
        b"data: [DONE]\n\n",
        event({"content": "x"}, metadata={"secret": 1}, Metadata=2, se_signature="fake", error="prose"),
        b"data: not json\n\n",
        b'data: {"error":{"message":"provider prose"}}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":5}}]}\n\n',
        b"data: [1]\n\n",
    )
    assert target.dropped_events == 4
    for secret in (b"secret", b"etadata", b"fake", b"prose", b"not json"):
        assert secret not in out
    assert out.count(b"[DONE]") == 1


def test_role_comes_once_even_if_repeated_or_missing() -> None:
    repeated = accumulate(run(stream(), *(event({"role": "assistant", "content": text}) for text in "abc")))
    missing = accumulate(run(stream(), event({"content": "abc"})))
    for completion in (repeated, missing):
        assert completion.choices[0].message.role == "assistant"
        assert completion.choices[0].message.content == "abc"


def test_text_and_finish_in_one_event_are_parted() -> None:
    out = chunks(run(stream(include_usage=False), event({"content": "Hello"}), event({"content": " world"}, "stop")))
    assert [chunk["choices"][0]["delta"].get("content") for chunk in out] == ["", "Hello", " world", None]
    assert [chunk["choices"][0]["finish_reason"] for chunk in out] == [None, None, None, "stop"]
    assert {chunk["model"] for chunk in out} == {"a"}


def test_signature_rides_on_the_finish_chunk_without_usage() -> None:
    out = chunks(run(stream(include_usage=False), event({"content": "x"}), se_signature="s", response_hash="h"))
    assert out[-1]["choices"][0]["finish_reason"] == "stop"
    assert (out[-1]["se_signature"], out[-1]["response_hash"]) == ("s", "h")
    assert "usage" not in out[-1]


def test_unsigned_answer_shows_no_hash_and_attachments_come_last() -> None:
    out = chunks(run(stream(), event({"content": "x"}), response_hash="h", attachments={"metadata": {"job_id": "J"}}))
    assert "response_hash" not in out[-1]
    assert out[-1]["metadata"] == {"job_id": "J"}
    assert out[-1]["choices"] == []


@pytest.mark.parametrize(
    ("reported", "completion", "bound", "stopped", "expected"),
    [
        ("stop", 2, 100, False, "stop"),
        ("stop", 3, 3, False, "length"),
        ("stop", 3, 3, True, "stop"),
        ("length", 1, 100, False, "length"),
        ("content_filter", 3, 3, False, "content_filter"),
        ("provider prose", 1, 100, False, "stop"),
        (None, 1, 100, False, "stop"),
    ],
)
def test_finish_reason_correction(
    reported: str | None, completion: int, bound: int, stopped: bool, expected: str
) -> None:
    usage = UsageReport(prompt_tokens=1, completion_tokens=completion)
    target = stream(include_usage=False, requested_max=bound)
    out = run(target, event({"content": "x"}), event({}, reported), usage=usage, stop_sequence="S" if stopped else None)
    assert chunks(out)[-1]["choices"][0]["finish_reason"] == expected


def test_empty_answer_still_has_a_role_and_an_end() -> None:
    completion = accumulate(run(stream(), usage=UsageReport(prompt_tokens=1, completion_tokens=0)))
    assert completion.choices[0].message.content == ""
    assert completion.choices[0].finish_reason == "stop"


def test_parallel_calls_on_one_index_become_two_calls() -> None:
    out = run(
        stream(),
        event(
            {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]}
        ),
        event({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": '{"a"'}}]}),
        event({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
        event({"tool_calls": [{"index": 0, "id": "c2", "function": {"name": "g", "arguments": "{}"}}]}, "stop"),
    )
    calls = accumulate(out).choices[0].message.tool_calls
    assert [(call.id, call.function.name, call.function.arguments) for call in calls] == [
        ("c1", "f", '{"a":1}'),
        ("c2", "g", "{}"),
    ]
    assert accumulate(out).choices[0].finish_reason == "tool_calls"


def test_call_indexes_are_made_contiguous_and_missing_ids_invented() -> None:
    out = run(
        stream(),
        event({"tool_calls": [{"index": 1, "function": {"name": "f", "arguments": "1"}}]}),
        event({"tool_calls": [{"index": 3, "id": "z", "function": {"name": "g", "arguments": "2"}}]}),
        event({"tool_calls": [{"index": 1, "function": {"arguments": "1"}}]}),
    )
    calls = accumulate(out).choices[0].message.tool_calls
    assert [(call.id, call.function.arguments) for call in calls] == [("call_J_0", "11"), ("z", "2")]


def test_calls_beyond_the_bound_are_dropped_and_counted() -> None:
    target = stream()
    fragments = [{"index": 0, "id": f"c{number}", "function": {"name": "f"}} for number in range(130)]
    out = run(target, event({"tool_calls": fragments}))
    assert len(accumulate(out).choices[0].message.tool_calls) == 128
    assert target.dropped_calls == 2


def test_reasoning_details_do_not_repeat_their_id() -> None:
    out = run(stream(), event({"reasoning_content": "one "}), event({"reasoning": "two"}), event({"content": "x"}))
    message = accumulate(out).choices[0].message.model_dump()
    assert message["reasoning"] == message["reasoning_content"] == "one two"
    details = [chunk["choices"][0]["delta"]["reasoning_details"][0] for chunk in chunks(out)[1:3]]
    assert details[1] == {"type": "reasoning.text", "text": "two", "index": 0}


def test_nulls_never_reach_the_client() -> None:
    delta: dict[str, object] = {"content": "x", "tool_calls": None, "refusal": None, "reasoning_content": None}
    out = run(stream(include_usage=False), event(delta, usage=None))
    assert chunks(out)[1]["choices"][0]["delta"] == {"content": "x"}


def test_logprobs_keep_their_digits() -> None:
    text = (
        b'data: {"choices":[{"index":0,"delta":{"content":"x"},'
        b'"logprobs":{"content":[\ndata: {"token":"x","logprob":-0.10}]}}]}'
    )
    out = run(stream(), text)
    assert b'"logprobs":{"content":[{"token":"x","logprob":-0.10}]}' in out


def test_complete_object_streams_as_one_delta() -> None:
    message = {"role": "assistant", "content": "whole", "tool_calls": [{"id": "a", "function": {"name": "f"}}]}
    text = b"data: " + json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
    completion = accumulate(run(stream(), text))
    assert completion.choices[0].message.content == "whole"
    assert completion.choices[0].finish_reason == "tool_calls"


def test_think_blocks_stream_as_reasoning() -> None:
    target = stream(split_think=True)
    out = run(target, *(event({"content": text}) for text in ("<th", "ink>plan</th", "ink>", "\nans", "wer")))
    message = accumulate(out).choices[0].message.model_dump()
    assert (message["content"], message["reasoning_content"]) == ("answer", "plan")
    assert target.template is None


def test_pieces_say_what_is_content() -> None:
    target = stream()
    assert [piece.content for piece in target.feed(event({"role": "assistant", "content": ""}))] == [False]
    assert target.feed(event({"role": "assistant"})) == []
    assert target.feed(event({"content": ""})) == []
    (piece,) = target.feed(event({"content": "é"}))
    assert (piece.content, piece.deltas, piece.text_bytes) == (True, 1, 2)
    assert (target.deltas, target.text_bytes) == (1, 2)


def test_fail_is_one_error_event_without_done() -> None:
    out = stream().fail(ApiError(502, "provider_error", "The provider failed."))
    assert json.loads(out.removeprefix(b"data: ")) == {
        "error": {"message": "The provider failed.", "type": "provider_error", "code": "provider_error"}
    }
    assert b"[DONE]" not in out


SCRIPT = [
    event({"role": "assistant", "content": ""}),
    event({"reasoning_content": "think "}),
    event({"content": "Hé"}),
    event({"content": "llo"}),
    event({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}),
    event({"content": "!"}, "stop"),
    b"data: [DONE]\n\n",
]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=7), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.booleans())
def test_any_grouping_of_events_gives_the_same_bytes(sizes: list[int], end: bytes, trimmed: bool) -> None:
    expected = run(stream(), *SCRIPT)
    groups: list[bytes] = []
    place = turn = 0
    while place < len(SCRIPT):
        size = sizes[turn % len(sizes)]
        text = b"".join(SCRIPT[place : place + size]).replace(b"\n", end)
        groups.append(text.rstrip(b"\r\n") if trimmed else text)
        place, turn = place + size, turn + 1
    assert run(stream(), *groups) == expected


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "delta", "content", "tool_calls", "index", "function", "id", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(_JSON, max_size=5))
def test_hostile_events_never_break_the_stream(values: list[object]) -> None:
    out = run(stream(), *(b"data: " + json.dumps(value).encode() for value in values))
    assert all(set(chunk) >= {"id", "object", "created", "model", "choices"} for chunk in chunks(out))
