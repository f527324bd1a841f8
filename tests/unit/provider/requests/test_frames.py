"""Events of an answer, as the coordinator's own reader takes them."""

import json

import pytest

from protocol.api.chat_stream import ChatStream
from protocol.api.splice import plain_content
from provider.engine import Cause, Usage
from provider.models.source import RefusalKind
from provider.requests.frames import DONE, EventWriter
from provider.requests.refusal import OF_CAUSE, OF_LOAD


def writer(**fields):
    return EventWriter(request_id="r", model='odd "name"', created=1, **fields)


@pytest.mark.parametrize("text", ["Hi", 'quote " and \\', "\n\t\x00", "héllo 😀 日本語", "</script>", "\u2028"])
def test_content_is_exact(text):
    event = writer().content(text)
    assert event.startswith(b"data: {")
    assert event.endswith(b"}\n\n")
    assert event.count(b"\n") == 2
    assert json.loads(event[6:])["choices"][0]["delta"] == {"content": text}
    assert plain_content(event) == text


def test_content_deltas_can_be_spliced():
    stream = ChatStream(public_model="m", completion_id="chatcmpl-x", created=1, include_usage=True, requested_max=9)
    events = writer()
    stream.feed(events.first())
    stream.feed(events.content("Hel"))
    template = stream.template
    assert template is not None
    other = events.content("lo").rstrip(b"\n")
    assert other.startswith(template.in_prefix)
    assert other.endswith(template.in_suffix)


def test_the_end_is_understood():
    stream = ChatStream(public_model="m", completion_id="chatcmpl-x", created=1, include_usage=True, requested_max=9)
    events = writer()
    for event in (events.first(), events.content("x"), events.finish("length"), events.usage(Usage(3, 9)), DONE):
        stream.feed(event)
    assert stream.dropped_events == 0
    assert (stream.deltas, stream.text_bytes) == (1, 1)


def test_a_text_completion_has_no_opening():
    events = writer(shape="text")
    assert events.first() is None
    assert json.loads(events.finish("stop")[6:])["choices"] == [{"index": 0, "text": "", "finish_reason": "stop"}]


def test_every_failure_has_words():
    assert set(OF_CAUSE) == set(Cause)
    assert set(OF_LOAD) == set(RefusalKind.__args__)
