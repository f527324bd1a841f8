"""Events: closed words only, bounded queues, batches, and an end when the coordinator wants none."""

import json

import httpx
import pytest
import trio

from provider.link.status import LinkStatus
from provider.observe import telemetry
from provider.observe.events import ProviderEvent
from provider.observe.telemetry import TelemetryQueue, allowed_fields, worth_telling
from provider.observe.telemetry_sender import send_events


@pytest.fixture
def queue(tmp_path):
    return TelemetryQueue(tmp_path / "telemetry-queue.jsonl", version="0.1.0", wall_clock=lambda: 1_795_280_000.0)


def test_an_event_has_the_documented_keys_and_no_others(queue):
    queue.note("error", "backend_crash", "hi")
    (event,) = queue.take(5)
    content = json.loads(telemetry.msgspec.json.encode(event))
    assert set(content) == {"id", "timestamp", "source", "severity", "kind", "version", "session_id", "message"}
    assert (content["source"], content["timestamp"]) == ("provider", "2026-11-21T16:53:20Z")


def test_only_known_fields_with_short_values_leave():
    fields = {
        "component": "link",
        "reconnect_count": 3,
        "prompt": "PRIVATE",
        "error": "PRIVATE",
        "reason": "x" * 65,
        "target": "a\nb",
    }
    assert allowed_fields(fields) == {"component": "link", "reconnect_count": 3}


def test_reconnects_are_told_at_three_ten_and_every_thirty():
    assert [count for count in range(100) if worth_telling(count)] == [3, 10, 30, 60, 90]


def test_what_does_not_fit_goes_to_a_bounded_file(queue, tmp_path, monkeypatch):
    monkeypatch.setattr(telemetry, "MAX_QUEUED", 2)
    monkeypatch.setattr(telemetry, "MAX_FILE_BYTES", 2000)
    for number in range(40):
        queue.note("info", "custom", f"event {number}")
    file = tmp_path / "telemetry-queue.jsonl"
    assert len(queue) == 2
    assert file.stat().st_size <= 2000
    assert json.loads(file.read_text().splitlines()[-1])["message"] == "event 39"


class Ingest:
    """Answers with the given statuses in order, the last one for ever."""

    def __init__(self, *statuses):
        self.statuses = list(statuses)
        self.batches = []

    def __call__(self, request):
        self.batches.append([event["message"] for event in json.loads(request.content)["events"]])
        return httpx.Response(self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])


async def sending(queue, ingest, seconds):
    client = httpx.AsyncClient(transport=httpx.MockTransport(ingest))
    async with client:
        with trio.move_on_after(seconds):
            await send_events(queue, "https://host", client)
            return "ended"
    return "goes on"


async def test_events_leave_in_batches_of_fifty(queue, autojump_clock):
    for number in range(120):
        queue.note("info", "custom", f"event {number}")
    ingest = Ingest(202)
    assert await sending(queue, ingest, 6) == "goes on"
    assert [len(batch) for batch in ingest.batches] == [50, 50, 20]
    assert len(queue) == 0


async def test_a_failure_keeps_the_order_and_waits_longer(queue, autojump_clock):
    queue.note("info", "custom", "first")
    ingest = Ingest(503, 202)
    assert await sending(queue, ingest, 20) == "goes on"
    assert ingest.batches == [["first"]]
    queue.note("info", "custom", "second")
    assert await sending(queue, ingest, 10) == "goes on"
    assert ingest.batches == [["first"], ["first", "second"]]


async def test_a_coordinator_that_takes_none_is_left_alone(queue, autojump_clock):
    for number in range(120):
        queue.note("info", "custom", f"event {number}")
    ingest = Ingest(410)
    assert await sending(queue, ingest, 3600) == "ended"
    assert len(ingest.batches) == 1


async def test_a_batch_that_is_too_large_goes_in_halves(queue, autojump_clock):
    for number in range(50):
        queue.note("info", "custom", f"{number} " + "x" * 3000)
    ingest = Ingest(202)
    await sending(queue, ingest, 6)
    assert sum(len(batch) for batch in ingest.batches) == 50
    assert len(ingest.batches) > 1


def test_nothing_is_queued_unless_it_is_switched_on(queue):
    from provider.daemon.telling import Telling

    event = ProviderEvent(kind="model_failed", model="m", text="PRIVATE")
    Telling(queue, is_on=False).note_event(event, LinkStatus())
    assert len(queue) == 0
    told = Telling(queue, is_on=True)
    told.note_event(event, LinkStatus())
    told.note_crash()
    told.note_event(ProviderEvent(kind="disconnected", text="http_502"), LinkStatus(reconnects=1))
    told.note_event(ProviderEvent(kind="disconnected", text="http_502"), LinkStatus(reconnects=2))
    events = queue.take(10)
    assert [entry.kind for entry in events] == ["custom", "backend_crash", "connectivity"]
    assert "PRIVATE" not in repr([entry.fields for entry in events])
