"""Legacy completions: lowered prompts, raised text."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion

import native
from protocol.api import ApiError, UsageReport
from protocol.api.completions import COMPLETIONS, parse_completion_request
from protocol.api.shapes import AnswerFacts

USAGE = UsageReport(prompt_tokens=3, completion_tokens=2)


def body(**members: Any) -> bytes:
    return json.dumps({"model": "m", "prompt": "hi"} | members).encode()


def facts(**changes: Any) -> AnswerFacts:
    members: dict[str, Any] = {
        "job_id": "a-b",
        "public_model": "m",
        "created": 1780000000,
        "requested_max": 100,
        "include_usage": True,
    }
    return AnswerFacts(**members | changes)


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: " + json.dumps({"id": "x", "choices": choices}).encode() + b"\n\n"


def streamed(*plaintexts: bytes, usage: UsageReport = USAGE, ending: Any = None, **changes: Any) -> bytes:
    stream = COMPLETIONS.new_stream(facts(**changes))
    out = b"".join(piece.ready for text in plaintexts for piece in stream.feed(text))
    return out + stream.finish(usage, **(ending or {}))


def whole(*plaintexts: bytes, usage: UsageReport = USAGE, ending: Any = None, **changes: Any) -> Any:
    answer = COMPLETIONS.new_answer(facts(**changes))
    for text in plaintexts:
        answer.feed(text)
    return json.loads(msgspec.json.encode(answer.finish(usage, **(ending or {}))))


def chunks(out: bytes) -> list[dict[str, Any]]:
    events = out.decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


@pytest.mark.parametrize("prompt", ["hi", ["hi"], ""])
def test_prompt_becomes_one_message(prompt: str | list[str]) -> None:
    sent = json.loads(parse_completion_request(body(prompt=prompt, top_k=3, stop="X")).provider_body("b", 9))
    assert sent["messages"] == [{"role": "user", "content": prompt[0] if isinstance(prompt, list) else prompt}]
    assert (sent["model"], sent["max_tokens"], sent["top_k"], sent["stop"]) == ("b", 9, 3, ["X"])
    assert "prompt" not in sent


def test_members_that_mean_off_are_accepted_and_not_forwarded() -> None:
    members: dict[str, Any] = {"suffix": None, "echo": False, "best_of": 1, "logprobs": 0, "n": 1, "tools": []}
    sent = json.loads(parse_completion_request(body(**members)).provider_body("b", 9))
    assert not sent.keys() & {"suffix", "echo", "best_of", "logprobs", "prompt"}


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"model": None}, "model"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2, 3]}, "prompt"),
        ({"prompt": [1]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"suffix": "end"}, "suffix"),
        ({"echo": True}, "echo"),
        ({"best_of": 2}, "best_of"),
        ({"best_of": True}, "best_of"),
        ({"logprobs": 1}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"n": 2}, "n"),
        ({"stop": 5}, "stop"),
        ({"temperature": 9}, "temperature"),
        ({"messages": [{"role": "user", "content": "x"}]}, "messages"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"raw": "yes"}, "raw"),
        ({"raw": True, "prompt": ""}, "prompt"),
    ],
)
def test_refusals_name_the_member(members: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_completion_request(body(**members))
    assert (caught.value.status, caught.value.param) == (400, param)


def test_a_raw_prompt_reaches_the_provider_as_it_is() -> None:
    prompt = 'Once "upon"\n a time \u00e9'
    chat = parse_completion_request(body(prompt=[prompt], raw=True, max_tokens=7, stop="X"))
    assert chat.raw_prompt
    assert json.loads(chat.provider_body("b", 7)) == {
        "model": "b",
        "endpoint": "/v1/completions",
        "prompt": prompt,
        "max_tokens": 7,
        "stop": ["X"],
        "stream": False,
    }
    assert chat.prompt_tokens_estimate == len(prompt.encode()) // 4
    assert len(prompt.encode()) <= chat.prompt_tokens_hold < len(prompt.encode()) + 100


@pytest.mark.parametrize("members", [{}, {"raw": False}, {"raw": None}])
def test_without_the_wish_the_chat_template_is_applied(members: dict[str, Any]) -> None:
    chat = parse_completion_request(body(**members))
    assert not chat.raw_prompt
    assert not json.loads(chat.provider_body("b", 7)).keys() & {"endpoint", "prompt", "raw"}


def continuation(text: str, finish: str | None = None) -> bytes:
    """What a provider sends for a raw prompt."""
    choices = [{"index": 0, "text": text, "finish_reason": finish}]
    return b"data: " + json.dumps({"id": "x", "object": "text_completion", "choices": choices}).encode() + b"\n\n"


def test_what_continues_a_raw_prompt_is_raised_like_a_reply() -> None:
    texts = (continuation("Hel"), continuation("lo"), continuation("", "length"))
    replies = (chunk({"content": "Hel"}), chunk({"content": "lo"}), chunk({}, "length"))
    assert streamed(*texts) == streamed(*replies)
    assert whole(*texts) == whole(*replies)
    stream = COMPLETIONS.new_stream(facts())
    (piece,) = stream.feed(continuation("Hel"))
    assert stream.template is not None
    assert stream.template.in_prefix + b"Hel" + stream.template.in_suffix == continuation("Hel").rstrip()
    assert stream.template.out_prefix + b"Hel" + stream.template.out_suffix == piece.ready


def test_bounds_come_before_the_prompt_and_after_the_model() -> None:
    asked: list[str] = []
    with pytest.raises(ApiError) as caught:
        parse_completion_request(body(max_tokens=-1, prompt=None), check_model=asked.append)
    assert (asked, caught.value.param) == (["m"], "max_tokens")
    with pytest.raises(ApiError) as too_large:
        parse_completion_request(body(), limit_bytes=5)
    assert too_large.value.status == 413


def test_stream() -> None:
    out = streamed(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({}, "stop"),
        ending={"response_hash": "ab", "se_signature": "c2ln"},
    )
    head = {"id": "cmpl-ab", "object": "text_completion", "created": 1780000000, "model": "m"}
    text: dict[str, Any] = {"index": 0, "text": "Hel", "logprobs": None, "finish_reason": None}
    assert chunks(out) == [
        head | {"choices": [text]},
        head | {"choices": [text | {"text": "lo"}]},
        head | {"choices": [text | {"text": "", "finish_reason": "stop"}]},
        head
        | {
            "choices": [],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
            "se_signature": "c2ln",
            "response_hash": "ab",
        },
    ]


def test_without_usage_the_signature_is_on_the_finish_chunk() -> None:
    found = chunks(streamed(chunk({"content": "x"}), include_usage=False, ending={"se_signature": "c2ln"}))
    assert found[-1]["choices"][0]["finish_reason"] == "stop"
    assert found[-1]["se_signature"] == "c2ln"
    assert all("usage" not in one for one in found)


def test_answer_in_one_piece() -> None:
    answer = whole(
        chunk({"reasoning": "hm"}), chunk({"content": "Hello"}), ending={"response_hash": "ab", "se_signature": "c2ln"}
    )
    assert answer == {
        "id": "cmpl-ab",
        "object": "text_completion",
        "created": 1780000000,
        "model": "m",
        "choices": [{"index": 0, "text": "Hello", "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 2,
            "total_tokens": 5,
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
        "se_signature": "c2ln",
        "response_hash": "ab",
    }
    Completion.model_validate(answer)


@pytest.mark.parametrize(
    ("finish", "tokens", "seen"),
    [
        ("tool_calls", 2, "stop"),
        ("content_filter", 2, "content_filter"),
        ("length", 2, "length"),
        ("stop", 5, "length"),
    ],
)
def test_finish_reasons_are_the_three_of_this_api(finish: str, tokens: int, seen: str) -> None:
    usage = UsageReport(prompt_tokens=1, completion_tokens=tokens)
    plaintexts = (chunk({"content": "x"}), chunk({}, finish))
    assert chunks(streamed(*plaintexts, usage=usage, requested_max=5))[-2]["choices"][0]["finish_reason"] == seen
    assert whole(*plaintexts, usage=usage, requested_max=5)["choices"][0]["finish_reason"] == seen


def test_reasoning_is_content_that_writes_nothing() -> None:
    stream = COMPLETIONS.new_stream(facts())
    (piece,) = stream.feed(chunk({"reasoning": "hm"}))
    assert piece == (b"", True, 1, 2)


def test_failure_is_one_error_event() -> None:
    out = COMPLETIONS.new_stream(facts()).fail(ApiError(502, "provider_error", "The provider failed."))
    assert json.loads(out.removeprefix(b"data: "))["error"]["code"] == "provider_error"
    assert b"[DONE]" not in out


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=6))
def test_what_the_pump_splices_is_what_the_stream_writes(texts: list[str]) -> None:
    stream = COMPLETIONS.new_stream(facts())
    plain = [b"".join(piece.ready for piece in stream.feed(chunk({"content": text}))) for text in texts]
    template = stream.template
    if template is None:  # a first text that cannot be told from its surroundings
        return
    for text, ready in zip(texts, plain, strict=True):
        middle = msgspec.json.encode(text)[1:-1]
        assert template.out_prefix + middle + template.out_suffix == ready
    joined = "".join(one["choices"][0]["text"] for one in chunks(b"".join(plain) + stream.finish(USAGE))[:-1])
    assert joined == "".join(texts) == whole(*(chunk({"content": text}) for text in texts))["choices"][0]["text"]
    assert isinstance(template, native.SpliceTemplate)
