"""The complete answer, collected from deltas or taken from one object."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from openai.types.chat import ChatCompletion

from protocol.api import AnswerTooLarge, ChatAnswer, UsageReport
from protocol.api import chat_answer as module

USAGE = UsageReport(prompt_tokens=12, completion_tokens=34)
CALL = {"id": "call_x", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def answer(*, requested_max: int = 100, split_think: bool = False) -> ChatAnswer:
    return ChatAnswer(
        public_model="a", completion_id="chatcmpl-J", created=7, requested_max=requested_max, split_think=split_think
    )


def event(**choice: object) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, **choice}]}).encode() + b"\n\n"


def collect(target: ChatAnswer, *plaintexts: bytes, usage: UsageReport = USAGE, **ending: Any) -> dict[str, Any]:
    for text in plaintexts:
        target.feed(text)
    return target.finish(usage, **ending)


def test_deltas_and_one_object_give_the_same_answer() -> None:
    deltas = collect(
        answer(),
        event(delta={"role": "assistant", "content": None}),
        event(delta={"reasoning_content": "be"}),
        event(delta={"reasoning_content": "cause"}),
        event(delta={"content": "Hel"}),
        event(delta={"content": "lo"}),
        event(delta={"tool_calls": [{"index": 0, "id": "call_x", "function": {"name": "f", "arguments": '{"a"'}}]}),
        event(delta={"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
        event(delta={}, finish_reason="stop"),
        b"data: [DONE]\n\n",
    )
    message = {"role": "assistant", "content": "Hello", "reasoning": "because", "tool_calls": [CALL]}
    whole = collect(answer(), event(message=message, finish_reason="stop"))
    assert deltas == whole
    assert deltas["choices"][0]["message"]["tool_calls"] == [CALL]
    assert deltas["choices"][0]["finish_reason"] == "tool_calls"
    assert ChatCompletion.model_validate(deltas).choices[0].message.content == "Hello"


def test_content_is_always_a_string_and_nulls_are_gone() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": None, "refusal": None}
    got = collect(answer(), event(message=message))
    assert got["choices"][0]["message"] == {"role": "assistant", "content": ""}


def test_usage_details_only_when_not_zero() -> None:
    plain = collect(answer(), event(delta={"content": "x"}))
    assert plain["usage"] == {"prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46}
    usage = UsageReport(prompt_tokens=12, completion_tokens=34, reasoning_tokens=40, cached_tokens=13)
    clamped = collect(answer(), event(delta={"content": "x"}), usage=usage)
    assert clamped["usage"]["completion_tokens_details"] == {"reasoning_tokens": 34}
    assert "prompt_tokens_details" not in clamped["usage"]
    cached = collect(answer(), usage=UsageReport(prompt_tokens=12, completion_tokens=0, cached_tokens=12))
    assert cached["usage"]["prompt_tokens_details"] == {"cached_tokens": 12}


def test_uncounted_reasoning_counts_as_all_tokens() -> None:
    got = collect(answer(), event(delta={"reasoning": "x"}))
    assert got["usage"]["completion_tokens_details"] == {"reasoning_tokens": 34}


def test_signature_only_when_signed() -> None:
    assert "response_hash" not in collect(answer(), response_hash="h")
    signed = collect(answer(), response_hash="h", se_signature="s", attachments={"metadata": {"job_id": "J"}})
    assert (signed["se_signature"], signed["response_hash"], signed["metadata"]) == ("s", "h", {"job_id": "J"})


def test_length_is_derived_from_the_bound() -> None:
    got = collect(answer(requested_max=34), event(delta={"content": "x"}, finish_reason="stop"))
    assert got["choices"][0]["finish_reason"] == "length"


def test_think_blocks_become_reasoning() -> None:
    got = collect(
        answer(split_think=True), event(delta={"content": "<think>plan</thi"}), event(delta={"content": "nk> x"})
    )
    assert (got["choices"][0]["message"]["content"], got["choices"][0]["message"]["reasoning"]) == ("x", "plan")


def test_logprobs_are_collected() -> None:
    got = collect(
        answer(),
        event(delta={"content": "x"}, logprobs={"content": [{"token": "x"}]}),
        event(delta={"content": "y"}, logprobs={"content": [{"token": "y"}]}),
        event(delta={}, logprobs={"content": 5}),
    )
    shown = msgspec.json.decode(msgspec.json.encode(got))["choices"][0]
    assert shown["logprobs"] == {"content": [{"token": "x"}, {"token": "y"}]}


def test_logprobs_that_no_float_can_hold_keep_their_digits() -> None:
    impossible = (
        b'data: {"choices":[{"delta":{"content":"x"},"logprobs":{"content":[{"token":"x","logprob":-1e999}]}}]}\n\n'
    )
    got = collect(answer(), impossible)
    assert b'"logprob":-1E+999' in msgspec.json.encode(got)


def test_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TEXT_BYTES", 10)
    target = answer()
    target.feed(event(delta={"content": "x" * 10}))
    with pytest.raises(AnswerTooLarge):
        target.add_run(b"y", 1, 1)


@pytest.mark.parametrize(
    ("plaintext", "content"),
    [
        (event(delta={"role": "assistant", "content": ""}), False),
        (event(delta={"content": "a"}), True),
        (event(delta={"reasoning": "hm"}), True),
        (event(delta={}, finish_reason="stop"), False),
        (event(delta={"content": "a"}) + event(delta={}, finish_reason="stop"), True),
        (b"data: [DONE]\n\n", False),
        (b"noise", False),
    ],
)
def test_a_chunk_says_whether_anything_generated_was_in_it(plaintext: bytes, content: bool) -> None:
    assert answer().feed(plaintext) is content


def test_noise_is_counted() -> None:
    target = answer()
    got = collect(target, b"data: nope\n\n", b"data: [DONE]\n\n", event(delta={"content": "x"}))
    assert target.dropped_events == 1
    assert got["choices"][0]["message"]["content"] == "x"
