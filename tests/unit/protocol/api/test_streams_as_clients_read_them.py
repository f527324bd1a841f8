"""One scripted answer in every dialect: however a provider cuts it, the official SDKs read the same."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from protocol.api import UsageReport
from protocol.api.anthropic import MessagesDialect
from protocol.api.completions import COMPLETIONS
from protocol.api.errors import ApiError
from protocol.api.responses import ResponsesDialect
from protocol.api.shapes import CHAT, AnswerFacts, Dialect
from tests.conftest import FULL
from tests.testbed.sdk_replay import read_chat, read_completion, read_message, read_response

FACTS = AnswerFacts(
    job_id="00000000-0000-4000-8000-00000000000a",
    public_model="m",
    created=1_780_000_000,
    requested_max=1000,
    include_usage=True,
)
USAGE = UsageReport(prompt_tokens=3, completion_tokens=9, reasoning_tokens=2)
TEXT = 'Hé"llo\\ 🌍\n<b>é\u2028!'
THOUGHT = "Lét me 🤔…"
ARGUMENTS = ('{"city": "Zürich", "n": 9007199254740993}', '{"q":"\\"🌍\\""}')

Reader = Callable[[bytes], dict[str, Any]]
DIALECTS: dict[str, tuple[Callable[[], Dialect], Reader]] = {
    "chat": (lambda: CHAT, read_chat),
    "completions": (lambda: COMPLETIONS, read_completion),
    "responses": (lambda: ResponsesDialect({}), read_response),
    "messages": (lambda: MessagesDialect(has_tools=True), read_message),
}
HAS_DONE = {"chat", "completions"}
ERROR_MARKS = {"chat": b'data: {"error"', "completions": b'data: {"error"'}


def event(delta: dict[str, Any], finish: str | None = None) -> str:
    chunk = {"id": "sim", "model": "build", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return "data: " + json.dumps(chunk, ensure_ascii=False) + "\n\n"


def call(index: int, arguments: str, **more: str) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": more.pop("name")} if "name" in more else {})
    return {"tool_calls": [{"index": index, "type": "function", "function": function, **more}]}


def script(cut: Callable[[str], Sequence[str]]) -> str:
    """What the provider sends; `cut` says how it tears texts and arguments into tokens."""
    out = [event({"role": "assistant", "content": None})]
    out += [event({"reasoning_content": piece}) for piece in cut(THOUGHT)]
    out += [event({"content": piece}) for piece in cut(TEXT)]
    for number, arguments in enumerate(ARGUMENTS):
        out.append(event(call(number, "", id=f"call_{number}", name=f"tool_{number}")))
        out += [event(call(number, piece)) for piece in cut(arguments)]
    out.append(event({}, "tool_calls"))
    out.append('data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9}}\n\n')
    out.append("data: [DONE]\n\n")
    return "".join(out)


def whole(text: str) -> list[str]:
    return [text]


def relayed(dialect: Dialect, chunks: Sequence[str]) -> bytes:
    stream = dialect.new_stream(FACTS)
    out = [piece.ready for chunk in chunks for piece in stream.feed(chunk.encode())]
    assert stream.ended
    assert stream.dropped_events == 0
    return b"".join([*out, stream.finish(USAGE, response_hash="ab", se_signature="c2ln")])


def check_events(name: str, out: bytes) -> None:
    """Every event is whole: lines of fields, then a blank line; `[DONE]` is the last one, once, where there is one."""
    assert out.endswith(b"\n\n")
    for one in out[:-2].split(b"\n\n"):
        lines = one.split(b"\n")
        data = lines.pop().removeprefix(b"data: ")
        assert data == b"[DONE]" or isinstance(json.loads(data), dict)
        assert all(re.fullmatch(rb"event: [a-z._]+", line) for line in lines)
        assert len(lines) == (0 if name in HAS_DONE else 1)
    assert out.count(b"data: [DONE]\n\n") == (1 if name in HAS_DONE else 0)
    assert not name.startswith("c") or out.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("name", DIALECTS)
def test_the_script_is_what_the_client_reads(name: str) -> None:
    make, read = DIALECTS[name]
    out = relayed(make(), [script(whole)])
    check_events(name, out)
    truth = json.dumps(read(out), ensure_ascii=False)
    assert json.dumps(TEXT, ensure_ascii=False)[1:-1] in truth
    if name != "completions":
        assert THOUGHT in truth
        assert "9007199254740993" in truth


@pytest.mark.parametrize("name", DIALECTS)
def test_events_cut_at_every_place_are_the_same_stream_byte_for_byte(name: str) -> None:
    make, _ = DIALECTS[name]
    sent = script(whole)
    truth = relayed(make(), [sent])
    for place in range(len(sent) + 1):
        assert relayed(make(), [sent[:place], sent[place:]]) == truth, place
    assert relayed(make(), list(sent)) == truth
    for size in (2, 3, 7, 64, 1000):
        assert relayed(make(), [sent[at : at + size] for at in range(0, len(sent), size)]) == truth, size


@pytest.mark.parametrize("name", DIALECTS)
def test_tokens_cut_at_every_place_are_the_same_answer(name: str) -> None:
    make, read = DIALECTS[name]
    truth = read(relayed(make(), [script(whole)]))
    longest = max(map(len, (TEXT, THOUGHT, *ARGUMENTS)))
    for place in range(1, longest, 1 if FULL else 3):
        out = relayed(make(), [script(lambda text, at=place: [part for part in (text[:at], text[at:]) if part])])  # type: ignore[misc]
        check_events(name, out)
        assert read(out) == truth, place
    out = relayed(make(), [script(list)])
    check_events(name, out)
    assert read(out) == truth


@pytest.mark.parametrize("name", DIALECTS)
def test_a_failure_behind_any_event_is_exactly_one_error(name: str) -> None:
    make, _ = DIALECTS[name]
    events = script(list).split("\n\n")[:-3]
    mark = ERROR_MARKS.get(name, b"event: error\n")
    for count in range(2, len(events), 5):
        stream = make().new_stream(FACTS)
        out = b"".join(
            piece.ready for one in events[:count] for piece in stream.feed(f"{one}\n\n".encode())
        ) + stream.fail(ApiError(502, "provider_error", "The provider failed."))
        assert out.count(mark) == 1
        assert b"[DONE]" not in out
        assert b"message_stop" not in out
        assert b"response.completed" not in out
        assert out.endswith(b"\n\n")
        last = out[:-2].split(b"\n\n")[-1]
        assert mark.rstrip() in last or (name == "responses" and last.startswith(b"event: response.failed"))


@pytest.mark.parametrize("name", DIALECTS)
def test_keep_alives_between_all_events_change_nothing(name: str) -> None:
    make, read = DIALECTS[name]
    out = relayed(make(), [script(list)])
    kept = out.replace(b"\n\n", b"\n\n" + make().keep_alive)
    assert read(kept) == read(out)
