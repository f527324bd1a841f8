"""An answer as events: reasoning, calls, log-probabilities, and the end that they lead to."""

import json
from dataclasses import replace

import pytest

from protocol.api.chat_answer import ChatAnswer
from protocol.api.chat_stream import ChatStream
from protocol.api.ending import UsageReport
from protocol.response_hash import ResponseHasher
from provider.engine import CacheOutcome, Delta, Finished, FinishReason, TokenLogprob, Usage
from provider.engine.dialect import PLAIN, Dialect
from provider.requests.frames import DONE, EventWriter
from provider.requests.narration import MAX_PENDING_ENTRIES, Narration
from provider.requests.plan import AnswerPlan
from provider.requests.refusal import NONCOMPLIANT, RequestRefused
from tests.testbed.byte_model import byte_vocabulary

THINK = Dialect(think=("<think>", "</think>"))
TOOLS = ({"type": "function", "function": {"name": "f"}},)
CALL = '<tool_call>{"name":"f","arguments":{"a":"é/"}}</tool_call>'


def told(pieces, *, reason=FinishReason.STOP, hasher=None, shape="chat", usage=None, **plan):
    """(narration, decoded events without the end mark)."""
    writer = EventWriter(request_id="r", model="m", created=1, shape=shape)
    narration = Narration(writer=writer, plan=AnswerPlan(vocabulary=byte_vocabulary(), **plan), hasher=hasher)
    deltas = [piece if isinstance(piece, Delta) else Delta(piece, 1) for piece in pieces]
    events = [event for delta in deltas for event in narration.delta(delta)]
    finished = Finished(reason, usage or Usage(5, sum(delta.tokens for delta in deltas) + 1))
    events += narration.end(finished)
    assert events[-1] == DONE
    return narration, [json.loads(event.removeprefix(b"data: ")) for event in events[:-1]]


def deltas(events):
    return [event["choices"][0]["delta"] for event in events if event["choices"]]


def finish(events):
    return next(reason for event in events for choice in event["choices"] if (reason := choice["finish_reason"]))


def test_reasoning_and_content_are_apart():
    _narration, events = told(["<think>", "rea", "son", "</think>", "ans"], dialect=THINK)
    assert deltas(events) == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "rea"},
        {"reasoning_content": "son"},
        {"content": "ans"},
        {},
    ]
    assert finish(events) == "stop"
    details = events[-1]["usage"]["completion_tokens_details"]
    assert details == {"reasoning_tokens": 3}


def test_reasoning_cut_short_counts_to_its_end():
    _, events = told(["<think>", "a"], dialect=THINK, reason=FinishReason.LENGTH)
    assert finish(events) == "length"
    assert events[-1]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 2}


def test_a_call_is_one_delta_and_the_reason():
    hasher = ResponseHasher("r")
    _narration, events = told(["so ", CALL[:20], CALL[20:]], dialect=PLAIN, tools=TOOLS, hasher=hasher)
    (call,) = next(delta["tool_calls"] for delta in deltas(events) if "tool_calls" in delta)
    assert (call["index"], call["type"]) == (0, "function")
    assert call["function"] == {"name": "f", "arguments": '{"a":"é/"}'}
    assert call["id"].startswith("call_")
    assert len(call["id"]) == 29
    assert finish(events) == "tool_calls"
    expected = ResponseHasher("r")
    expected.add_text("so ")
    expected.add_tool_call({"id": call["id"], "type": "function", "function": call["function"]})
    assert hasher.finish(4) == expected.finish(4)


def test_the_hash_vector_of_one_call():
    expected = ResponseHasher("req-2")
    function = {"name": "get_weather", "arguments": '{"city":"Paris"}'}
    expected.add_tool_call({"id": "call_0", "type": "function", "function": function})
    assert expected.finish(7) == "4910bbc64ba859b8def20009ae6625a4f6ab931b57169cf9fac0418266c690d9"


def test_a_spoiled_call_is_text_and_counted():
    narration, events = told(["<tool_call>{oops</tool_call>"], dialect=PLAIN, tools=TOOLS)
    assert deltas(events)[1] == {"content": "{oops"}
    assert finish(events) == "stop"
    assert narration.spoiled_calls == 1


def test_a_call_cut_by_the_length_is_left_out():
    _, events = told(["x", CALL[:30]], dialect=PLAIN, tools=TOOLS, reason=FinishReason.LENGTH)
    assert deltas(events) == [{"role": "assistant", "content": ""}, {"content": "x"}, {}]
    assert finish(events) == "length"


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("no call", {"must_call": True}),
        (CALL + CALL, {"one_call": True}),
        (CALL, {"must_call": True, "only_tool": "g"}),
    ],
)
def test_an_answer_that_does_not_comply_is_refused(text, plan):
    with pytest.raises(RequestRefused) as caught:
        told([text], dialect=PLAIN, tools=TOOLS, **plan)
    assert caught.value.refusal is NONCOMPLIANT
    assert (NONCOMPLIANT.status, NONCOMPLIANT.reason) == (422, "tool_noncompliance")


def test_a_forced_call_that_was_cut_short_is_an_answer_of_that_length():
    _, events = told([CALL[:30]], dialect=PLAIN, tools=TOOLS, must_call=True, reason=FinishReason.LENGTH)
    assert finish(events) == "length"


@pytest.mark.parametrize("streams_calls", [False, True])
def test_a_forced_call_cut_in_its_first_mark_shows_nothing_of_it(streams_calls):
    plan = {"dialect": PLAIN, "tools": TOOLS, "must_call": True, "streams_calls": streams_calls}
    narration, events = told(["<tool", "_c"], reason=FinishReason.LENGTH, **plan)
    assert deltas(events) == [{"role": "assistant", "content": ""}, {}]
    assert finish(events) == "length"
    assert not narration.has_output


def test_an_answer_that_complies_is_complete():
    _, events = told([CALL], dialect=PLAIN, tools=TOOLS, must_call=True, only_tool="f", one_call=True)
    assert finish(events) == "tool_calls"


FORCED = {"dialect": PLAIN, "tools": TOOLS, "must_call": True, "streams_calls": True}
PIECES = ['<tool_call>{"name": "f", "argu', 'ments": {"a":', ' "é', '/"}', "}", "</tool_call>"]


def fragments(events):
    return [call for delta in deltas(events) for call in delta.get("tool_calls", ())]


def test_a_certain_call_is_sent_while_it_is_generated():
    hasher = ResponseHasher("r")
    _, events = told(PIECES, hasher=hasher, **FORCED)
    opened, *more = fragments(events)
    assert opened["function"] == {"name": "f", "arguments": ""}
    assert more == [{"index": 0, "function": {"arguments": text}} for text in ('{"a":', ' "é', '/"}')]
    assert finish(events) == "tool_calls"
    expected = ResponseHasher("r")
    function = {"name": "f", "arguments": '{"a": "é/"}'}
    expected.add_tool_call({"id": opened["id"], "type": "function", "function": function})
    assert hasher.finish(7) == expected.finish(7)


def test_two_certain_calls_have_their_own_numbers_and_ids():
    _, events = told([*PIECES, "\n", *PIECES], **FORCED)
    assert [call["index"] for call in fragments(events)] == [0] * 4 + [1] * 4
    assert len({call["id"] for call in fragments(events) if "id" in call}) == 2


def test_a_certain_call_cut_by_the_length_stops_where_it_was_cut_and_is_not_signed():
    hasher = ResponseHasher("r")
    _, events = told(PIECES[:3], hasher=hasher, reason=FinishReason.LENGTH, **FORCED)
    assert "".join(call["function"]["arguments"] for call in fragments(events)) == '{"a": "é'
    assert finish(events) == "length"
    assert hasher.finish(4) == ResponseHasher("r").finish(4)


def test_a_certain_call_that_breaks_all_the_same_ends_the_answer_with_a_refusal():
    with pytest.raises(RequestRefused) as caught:
        told([*PIECES[:3], "</tool_call>"], **FORCED)
    assert caught.value.refusal is NONCOMPLIANT


def as_the_coordinator_gets_it(pieces):
    writer = EventWriter(request_id="r", model="m", created=1)
    narration = Narration(writer=writer, plan=AnswerPlan(vocabulary=byte_vocabulary(), **FORCED))
    events = [event for piece in pieces for event in narration.delta(Delta(piece, 1))]
    return events + narration.end(Finished(FinishReason.STOP, Usage(5, 7)))


ABOUT = {"public_model": "m", "completion_id": "chatcmpl-x", "created": 1, "requested_max": 99}
USAGE = UsageReport(prompt_tokens=5, completion_tokens=7)


def test_the_coordinator_passes_the_pieces_of_a_call_on():
    stream = ChatStream(include_usage=False, **ABOUT)
    ready = b"".join(part.ready for event in as_the_coordinator_gets_it(PIECES) for part in stream.feed(event))
    ready += stream.finish(USAGE)
    sent = [json.loads(line.removeprefix(b"data: ")) for line in ready.split(b"\n\n") if line.startswith(b"data: {")]
    assert "".join(call["function"]["arguments"] for call in fragments(sent)) == '{"a": "é/"}'
    assert finish(sent) == "tool_calls"


def test_the_coordinator_puts_the_pieces_of_a_call_together():
    answer = ChatAnswer(**ABOUT)
    for event in as_the_coordinator_gets_it(PIECES):
        answer.feed(event)
    (choice,) = answer.finish(USAGE)["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "f", "arguments": '{"a": "é/"}'}
    assert choice["finish_reason"] == "tool_calls"


def lp(letter, logprob=-0.5, top=()):
    return TokenLogprob(ord(letter), logprob, top)


def test_logprobs_ride_on_their_text():
    top = ((ord("a"), -0.25), (200, float("-inf")))
    _, events = told([Delta("ab", 2, (lp("a", -0.25, top), lp("b")))])
    entries = events[1]["choices"][0]["logprobs"]["content"]
    assert [entry["token"] for entry in entries] == ["a", "b"]
    assert entries[0]["bytes"] == [97]
    assert entries[0]["top_logprobs"] == [
        {"token": "a", "logprob": -0.25, "bytes": [97]},
        {"token": "\ufffd", "logprob": -9999.0, "bytes": [200]},
    ]
    assert entries[1]["top_logprobs"] == []


def test_logprobs_wait_for_text_that_is_held_back_and_skip_reasoning():
    pieces = [
        Delta("a<thi", 1, (lp("a"),)),
        Delta("s>", 1, (lp("s"),)),
        Delta("<think>hm", 1, (lp("h"),)),
        Delta("m</think>", 1, (lp("m"),)),
        Delta("z", 1, (lp("z"),)),
    ]
    _, events = told(pieces, dialect=THINK)
    found = [
        [entry["token"] for entry in choice["logprobs"]["content"]]
        for event in events
        for choice in event["choices"]
        if "logprobs" in choice
    ]
    assert found == [["a"], ["s"], ["z"]]


def test_waiting_logprobs_are_bounded():
    held = Dialect(think=("<think>", "</think>"), dropped=("x" * 6000,))
    narration, _ = told([Delta("x" * 5000, 1, (lp("x"),) * 5000)], dialect=held)
    assert narration.dropped_logprobs == 5000 - MAX_PENDING_ENTRIES


def test_cached_tokens_are_reported():
    usage = Usage(100, 2, 64, CacheOutcome.HIT)
    _, events = told(["a"], usage=usage)
    assert events[-1]["usage"]["prompt_tokens_details"] == {"cached_tokens": 64}


def test_a_text_completion_is_what_it_is():
    _, events = told(["<think>a"], shape="text")
    assert [choice["text"] for event in events for choice in event["choices"]] == ["<think>a", ""]


def test_an_empty_answer_has_its_opening_and_its_end():
    _, events = told([], dialect=THINK)
    assert deltas(events) == [{"role": "assistant", "content": ""}, {}]


def test_the_coordinator_reads_what_is_told():
    plan = {"dialect": replace(THINK), "tools": TOOLS}
    writer = EventWriter(request_id="r", model="m", created=1)
    narration = Narration(writer=writer, plan=AnswerPlan(vocabulary=byte_vocabulary(), **plan))
    stream = ChatStream(public_model="m", completion_id="chatcmpl-x", created=1, include_usage=True, requested_max=99)
    ready = []
    for piece in ("<think>why", "</think>", "so", CALL):
        for event in narration.delta(Delta(piece, 1)):
            ready += [part.ready for part in stream.feed(event)]
    for event in narration.end(Finished(FinishReason.STOP, Usage(5, 5))):
        ready += [part.ready for part in stream.feed(event)]
    assert stream.dropped_events == 0
    assert stream.ended
    text = b"".join(ready)
    assert b'"reasoning_content":"why"' in text
    assert b'"content":"so"' in text
    assert b'"name":"f"' in text
