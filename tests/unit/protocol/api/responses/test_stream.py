"""The events of a streamed response, as the official SDK reads them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._models import construct_type
from openai._types import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent

from protocol.api import AnswerTooLarge, ApiError, UsageReport
from protocol.api.json_prefix import JsonPrefix
from protocol.api.responses import ResponsesDialect, answers, lifecycle, parse_responses_request
from tests.unit.protocol.api.responses.asked import (
    HEX,
    USAGE,
    call,
    chunk,
    dialect,
    events,
    facts,
    new_answer,
    new_stream,
    streamed,
    whole,
)

REASONED = (
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "hm"}),
    chunk({"content": "Hi"}),
    chunk(call(0, "c1", "f", '{"a":1}')),
    chunk({}, "tool_calls"),
)


def accumulated(out: bytes) -> Any:
    """What the SDK's own stream accumulator makes of the events."""
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=omit, text_format=omit)
    for event in events(out):
        state.handle_event(construct_type(type_=ResponseStreamEvent, value=event.data))  # type: ignore[arg-type]
    return state._completed_response


def texts(output: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """(kind, text) of each item."""
    found = []
    for item in output:
        if item["type"] == "message":
            found.append(("message", "".join(part.get("text", part.get("refusal")) for part in item["content"])))
        elif item["type"] == "reasoning":
            found.append(("reasoning", "".join(part["text"] for part in item["summary"])))
        else:
            found.append((f"{item['call_id']} {item['name']}", item["arguments"]))
    return found


def final(out: bytes) -> dict[str, Any]:
    response: dict[str, Any] = events(out)[-1].data["response"]
    return response


def test_reasoning_text_and_a_call_are_nineteen_events() -> None:
    out = streamed(*REASONED)
    assert [event.kind.removeprefix("response.") for event in events(out)] == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    parsed = accumulated(out)
    assert parsed.output_text == "Hi"
    assert [item.type for item in parsed.output] == ["reasoning", "message", "function_call"]
    assert [item.id for item in parsed.output] == [f"rs_{HEX}_0", f"msg_{HEX}_1", f"fc_{HEX}_2"]
    assert (parsed.usage.input_tokens, parsed.usage.output_tokens, parsed.usage.total_tokens) == (3, 2, 5)
    assert parsed.usage.output_tokens_details.reasoning_tokens == 1
    assert parsed.status == "completed"


def test_every_event_and_the_response_fit_the_sdks_types_strictly() -> None:
    out = streamed(*REASONED, chunk({"refusal": "no"}))
    for event in events(out):
        typed: Any = construct_type(type_=ResponseStreamEvent, value=event.data)
        type(typed).model_validate(event.data)
    Response.model_validate(final(out))


def test_nothing_is_written_before_the_first_content() -> None:
    stream = new_stream()
    assert stream.feed(chunk({"role": "assistant", "content": ""})) == []
    (piece,) = stream.feed(chunk({"content": "x"}))
    assert piece.content
    assert (piece.deltas, piece.text_bytes) == (1, 1)
    assert piece.ready.startswith(b'event: response.created\ndata: {"type":"response.created","sequence_number":0,')
    assert stream.template is not None
    assert (stream.template.out_prefix, stream.template.out_suffix) == (b"", b"\n")


def test_no_content_at_all_is_one_empty_message() -> None:
    out = streamed(chunk({"role": "assistant"}), chunk({}, "stop"))
    assert texts(final(out)["output"]) == [("message", "")]
    assert accumulated(out).output_text == ""


def test_items_of_one_kind_do_not_repeat_each_other() -> None:
    out = streamed(
        *(
            chunk({name: text})
            for name, text in [("reasoning", "a"), ("content", "b"), ("reasoning", "c"), ("content", "d")]
        )
    )
    done = [event.data["text"] for event in events(out) if event.kind.endswith("text.done")]
    assert done == ["a", "b", "c", "d"]
    assert texts(final(out)["output"]) == [("reasoning", "a"), ("message", "b"), ("reasoning", "c"), ("message", "d")]


def test_interleaved_calls_stay_apart_and_close_in_opening_order() -> None:
    fragments = [
        call(0, "c0", "f", '{"a"'),
        call(1, "c1", "g", '{"b"'),
        call(0, arguments=":1}"),
        call(1, arguments=":2}"),
    ]
    out = streamed(*(chunk(fragment) for fragment in fragments), chunk({"content": "done"}))
    assert texts(final(out)["output"]) == [("c0 f", '{"a":1}'), ("c1 g", '{"b":2}'), ("message", "done")]
    closing = [event.data["output_index"] for event in events(out) if event.kind == "response.output_item.done"]
    assert closing == [0, 1, 2]
    kinds = [event.kind for event in events(out)]
    assert kinds.index("response.content_part.added") > kinds.index("response.function_call_arguments.done")
    assert [item.arguments for item in accumulated(out).output[:2]] == ['{"a":1}', '{"b":2}']


def test_a_call_that_text_interrupts_goes_on() -> None:
    out = streamed(chunk(call(0, "c", "f", '{"a"')), chunk({"content": "x"}), chunk(call(0, arguments=":1}")))
    assert texts(final(out)["output"]) == [("c f", '{"a":1}'), ("message", "x")]
    assert texts([item.to_dict() for item in accumulated(out).output]) == texts(final(out)["output"])


def test_fragments_behind_whole_arguments_are_dropped_and_counted() -> None:
    stream = new_stream()
    out = streamed(
        chunk(call(0, "c", "f", "{}")), chunk({"content": "x"}), chunk(call(0, arguments="}")), stream=stream
    )
    assert texts(final(out)["output"])[0] == ("c f", "{}")
    assert stream.dropped_calls == 1


def test_a_call_opens_once_its_name_is_known() -> None:
    out = streamed(chunk(call(0, "c", arguments="{")), chunk(call(0, name="f")), chunk(call(0, arguments="}")))
    added = [event.data["item"] for event in events(out) if event.kind == "response.output_item.added"]
    assert [(item["call_id"], item["name"], item["arguments"]) for item in added] == [("c", "f", "")]
    assert texts(final(out)["output"]) == [("c f", "{}")]


def test_a_call_without_a_name_is_not_lost() -> None:
    out = streamed(chunk(call(0, "c", arguments="{}")))
    assert texts(final(out)["output"]) == [("c ", "{}")]


def test_missing_and_repeated_call_ids_become_ids_of_ours() -> None:
    out = streamed(chunk(call(0, "", "f", "{}")), chunk(call(1, "same", "g", "{}")), chunk(call(2, "same", "h", "{}")))
    ids = [item["call_id"] for item in final(out)["output"]]
    assert ids == [f"call_{HEX}_0", "same", f"call_{HEX}_2"]
    assert [item.call_id for item in accumulated(out).output] == ids


def test_refusal_is_a_part_of_its_own() -> None:
    out = streamed(chunk({"content": "well"}), chunk({"refusal": "I "}), chunk({"refusal": "won't"}))
    (message,) = final(out)["output"]
    assert [part["type"] for part in message["content"]] == ["output_text", "refusal"]
    assert message["content"][1]["refusal"] == "I won't"
    places = [event.data["content_index"] for event in events(out) if event.kind.startswith("response.refusal")]
    assert places == [1, 1, 1]


@pytest.mark.parametrize(
    ("finish", "tokens", "stop", "status", "reason"),
    [
        ("stop", 2, None, "completed", None),
        ("stop", 5, None, "incomplete", "max_output_tokens"),
        ("stop", 5, "END", "completed", None),
        ("length", 2, None, "incomplete", "max_output_tokens"),
        ("content_filter", 2, None, "incomplete", "content_filter"),
        ("tool_calls", 2, None, "completed", None),
    ],
)
def test_endings(finish: str, tokens: int, stop: str | None, status: str, reason: str | None) -> None:
    usage = UsageReport(prompt_tokens=1, completion_tokens=tokens)
    plaintexts = (chunk({"content": "x"}), chunk({}, finish))
    out = streamed(*plaintexts, usage=usage, stream=new_stream(requested_max=5), stop_sequence=stop)
    assert events(out)[-1].kind == f"response.{status}"
    response = final(out)
    assert response == whole(*plaintexts, usage=usage, answer=new_answer(requested_max=5), stop_sequence=stop)
    assert response["status"] == response["output"][0]["status"] == status
    assert response["incomplete_details"] == (None if reason is None else {"reason": reason})


def test_usage_has_every_count_even_when_zero() -> None:
    usage = UsageReport(prompt_tokens=0, completion_tokens=0)
    assert final(streamed(chunk({"content": "x"}), usage=usage))["usage"] == {
        "input_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    }
    cached = UsageReport(prompt_tokens=9, completion_tokens=4, cached_tokens=5)
    counted = final(streamed(chunk({"reasoning": "x"}), usage=cached))["usage"]
    assert counted["input_tokens_details"]["cached_tokens"] == 5
    assert counted["output_tokens_details"]["reasoning_tokens"] == 4


def test_signature_and_attachments_are_on_the_final_response_alone() -> None:
    out = streamed(
        chunk({"content": "x"}), response_hash="ab", se_signature="c2ln", attachments={"darkbloom": {"r": 1}}
    )
    assert (final(out)["response_hash"], final(out)["se_signature"]) == ("ab", "c2ln")
    assert final(out)["darkbloom"] == {"r": 1}
    assert "se_signature" not in events(out)[0].data["response"]


def test_failure_is_a_flat_error_and_a_failed_response() -> None:
    stream = new_stream()
    out = b"".join(piece.ready for piece in stream.feed(chunk({"content": "half"})))
    out += stream.fail(ApiError(502, "provider_error", "The provider failed."))
    error, failed = events(out)[-2:]
    assert error.data == {
        "type": "error",
        "sequence_number": 5,
        "code": "provider_error",
        "message": "The provider failed.",
        "param": None,
    }
    assert failed.kind == "response.failed"
    response = failed.data["response"]
    assert response["status"] == "failed"
    assert response["error"] == {"code": "server_error", "message": "The provider failed."}
    assert response["output"][0]["status"] == "incomplete"
    assert texts(response["output"]) == [("message", "half")]
    assert accumulated(out) is None


def test_failure_before_any_content_begins_the_response_first() -> None:
    out = new_stream().fail(ApiError(429, "rate_limit_exceeded", "Too slow."))
    kinds = [event.kind for event in events(out)]
    assert kinds == ["response.created", "response.in_progress", "error", "response.failed"]
    assert final(out)["error"]["code"] == "rate_limit_exceeded"


def test_think_blocks_become_reasoning() -> None:
    pieces = ("<thi", "nk>why", "</think>", "because")
    out = streamed(*(chunk({"content": piece}) for piece in pieces), stream=new_stream(split_think=True))
    assert texts(final(out)["output"]) == [("reasoning", "why"), ("message", "because")]


def test_log_probabilities_go_with_their_text() -> None:
    entry = {"token": "x", "logprob": -0.5, "bytes": [120], "top_logprobs": []}
    out = streamed(
        chunk({"content": ""}, logprobs={"content": [entry]}),
        chunk({"content": "x"}, logprobs={"content": [entry]}),
        chunk({"content": "y"}),
    )
    deltas = [event.data["logprobs"] for event in events(out) if event.kind == "response.output_text.delta"]
    assert deltas == [[entry, entry], []]
    (message,) = final(out)["output"]
    assert message["content"][0]["logprobs"] == [entry, entry]
    (done,) = [event.data for event in events(out) if event.kind == "response.output_text.done"]
    assert done["logprobs"] == [entry, entry]


def test_echo_is_on_one_line_and_exact() -> None:
    raw = b"""{"model": "m", "input": "x", "instructions": "a\\nb", "temperature": 0.10000000000000000001,
      "tools": [ {"type": "function",
                  "name": "f"} ], "metadata": {"k": "v"}, "reasoning": {"effort": "low"}, "user": "u",
      "parallel_tool_calls": false, "text": {"verbosity": "low"}, "max_output_tokens": 5, "top_p": 1}"""
    target = ResponsesDialect(parse_responses_request(raw).echo).new_stream(facts())
    out = streamed(chunk({"content": "x"}), stream=target)
    for event in (events(out)[0], events(out)[-1]):
        response = event.data["response"]
        assert response["instructions"] == "a\nb"
        assert response["tools"] == [{"type": "function", "name": "f"}]
        assert response["metadata"] == {"k": "v"}
        assert response["reasoning"] == {"effort": "low"}
        assert response["text"] == {"format": {"type": "text"}, "verbosity": "low"}
        assert (response["parallel_tool_calls"], response["max_output_tokens"], response["top_p"]) == (False, 5, 1)
        assert (response["store"], response["previous_response_id"], response["truncation"]) == (
            False,
            None,
            "disabled",
        )
    assert out.count(b'"temperature":0.10000000000000000001,') == 3


def test_a_huge_member_is_not_repeated() -> None:
    target = dialect(instructions="x" * 300_000, user="u").new_stream(facts())
    response = final(streamed(chunk({"content": "x"}), stream=target))
    assert response["instructions"] is None
    assert response["user"] == "u"


def test_text_beyond_the_bound_ends_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_TEXT_BYTES", 3)
    with pytest.raises(AnswerTooLarge):
        streamed(chunk({"content": "four"}))
    answer = new_answer()
    answer.add_run(b"abc", 1, 3)
    with pytest.raises(AnswerTooLarge):
        answer.add_run(b"d", 1, 1)


def test_items_without_end_end_the_attempt() -> None:
    text, thought, refusal = (chunk({name: "x"}) for name in ("content", "reasoning_content", "refusal"))
    for target, other in ((new_stream(), thought), (new_answer(), thought), (new_answer(), refusal)):
        for _ in range(lifecycle.MAX_PARTS // 2):
            target.feed(text)
            target.feed(other)
        with pytest.raises(AnswerTooLarge):
            target.feed(text)


def test_long_arguments_are_not_read_again_at_every_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    feed = JsonPrefix.feed
    monkeypatch.setattr(JsonPrefix, "feed", lambda self, text: read.append(len(text)) or feed(self, text))
    target = new_answer()
    target.feed(chunk(call(0, "c1", "f", '["' + "x" * 10_000)))
    for _ in range(50):
        target.feed(chunk({"content": "x"}))
        target.feed(chunk({"reasoning_content": "y"}))
    target.feed(chunk(call(0, arguments='"]')))
    assert sum(read) == 10_004
    output = target.finish(USAGE)["output"]
    assert bytes(output).count(b'"completed"') == 101


def test_runs_of_the_pump_join_the_text_of_an_answer() -> None:
    answer = new_answer()
    first = chunk({"content": "a"})
    answer.feed(first)
    assert answer.template is not None
    assert first.startswith(answer.template.in_prefix)
    assert (answer.template.out_prefix, answer.template.out_suffix) == (b"", b"")
    answer.add_run(b'b\\"', 2, 2)
    assert texts(whole(answer=answer)["output"]) == [("message", 'ab"')]
    assert (answer.deltas, answer.text_bytes) == (3, 3)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
DELTA = st.one_of(
    TEXT.map(lambda text: {"content": text}),
    TEXT.map(lambda text: {"reasoning_content": text}),
    TEXT.map(lambda text: {"refusal": text}),
    st.builds(
        lambda index, name, arguments: call(index, f"c{index}", name, arguments),
        st.integers(0, 2),
        st.sampled_from(["", "f"]),
        st.sampled_from(["", "{", '"a":1', "}", "[]"]),
    ),
)


@given(st.lists(DELTA, max_size=8), st.data())
def test_any_script_gives_the_same_items_streamed_whole_and_to_the_sdk(script: list[Any], data: Any) -> None:
    plaintexts = [chunk(delta) for delta in script]
    joined: list[bytes] = []
    for plaintext in plaintexts:  # several events may share a chunk
        if joined and data.draw(st.booleans()):
            joined[-1] += plaintext
        else:
            joined.append(plaintext)
    out = streamed(*joined)
    assert final(out) == whole(*plaintexts)
    parsed = accumulated(out)
    assert texts([item.to_dict() for item in parsed.output]) == texts(final(out)["output"])
    said = "".join(delta.get("content", "") for delta in script)
    assert parsed.output_text == said
    thought = "".join(delta.get("reasoning_content", "") for delta in script)
    assert "".join(text for kind, text in texts(final(out)["output"]) if kind == "reasoning") == thought
    by_delta = {event.data["output_index"]: "" for event in events(out) if event.kind == "response.output_item.added"}
    for event in events(out):
        if event.kind.endswith(".delta"):
            by_delta[event.data["output_index"]] += event.data["delta"]
    assert list(by_delta.values()) == [text for _, text in texts(final(out)["output"])]


@given(st.lists(TEXT, min_size=2, max_size=6))
def test_runs_of_the_pump_become_the_events_that_chunks_would(texts_said: list[str]) -> None:
    plaintexts = [chunk({"content": text}) for text in texts_said]
    target = new_stream()
    ready = b"".join(piece.ready for piece in target.feed(plaintexts[0]))
    template = target.template
    if template is None:  # a first text that cannot be told from its surroundings
        return
    bodies = [text[len(template.in_prefix) :][: -len(template.in_suffix)] for text in map(_trimmed, plaintexts[1:])]
    rows = [template.out_prefix + body + template.out_suffix for body in bodies]
    assert all(row.count(b"\n") == 1 for row in rows)
    ready += target.raise_run(rows[0]) + target.raise_run(b"".join(rows[1:]))
    assert (target.deltas, len(events(ready))) == (1, 4 + len(texts_said))
    assert final(ready + target.finish(USAGE)) == final(streamed(*plaintexts))
    said = [event.data["delta"] for event in events(ready) if event.kind == "response.output_text.delta"]
    assert said == texts_said


def test_runs_count_towards_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_TEXT_BYTES", 5)
    target = new_stream()
    target.feed(chunk({"content": "abc"}))
    target.raise_run(b"d\n")
    with pytest.raises(AnswerTooLarge):
        target.raise_run(b"e\n")


def _trimmed(plaintext: bytes) -> bytes:
    return plaintext.rstrip(b"\n")
