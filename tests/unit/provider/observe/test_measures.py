"""What is counted about requests, what is shown of the log, and what is taken out of it before it leaves."""

import json
import stat
import threading

import pytest

from protocol.codec import encode
from protocol.messages.from_provider import InferenceAccepted, InferenceComplete, InferenceError, Usage
from provider.observe import configure_logging
from provider.observe.log_files import follow_log, parse_line, read_log
from provider.observe.meter import RequestMeter
from provider.observe.metrics import ProviderMetrics
from provider.observe.redact import redact
from provider.observe.setup import OLD_FILES
from provider.observe.throughput import Throughput

CHUNK = b'{"type":"inference_response_chunk","request_id":"r","encrypted_data":{}}'


class Lane:
    def __init__(self):
        self.frames = []
        self.owner = object()
        self.hurried = False

    def put(self, frame):
        self.frames.append(frame)

    async def room(self):
        pass

    def hurry(self):
        self.hurried = True


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_a_lane_counts_first_token_pace_and_end_and_passes_everything_on():
    metrics, clock, lane = ProviderMetrics(), Clock(), Lane()
    meter = RequestMeter(metrics, Throughput(), clock=clock)
    metered = meter.lane(lane, source="coordinator")
    meter.note_model("m")
    frames = [encode(InferenceAccepted(request_id="r"))]
    metered.put(frames[0])
    for step in (0.2, 0.1, 0.1):
        clock.now += step
        metered.put(CHUNK)
    done = encode(
        InferenceComplete(request_id="r", usage=Usage(prompt_tokens=7, completion_tokens=3, cache_outcome="hit"))
    )
    metered.put(done)
    assert lane.frames == [*frames, CHUNK, CHUNK, CHUNK, done]
    text = metrics.render().decode()
    for line in (
        'darkbloom_provider_requests_total{model="m",outcome="complete",source="coordinator"} 1.0',
        'darkbloom_provider_tokens_total{kind="prompt"} 7.0',
        'darkbloom_provider_prefix_cache_total{outcome="hit"} 1.0',
        'darkbloom_provider_tokens_total{kind="completion"} 3.0',
        'darkbloom_provider_ttft_seconds_bucket{le="0.1"} 0.0',
        'darkbloom_provider_ttft_seconds_bucket{le="0.25"} 1.0',
        'darkbloom_provider_tpot_seconds_bucket{le="0.05"} 0.0',
        'darkbloom_provider_tpot_seconds_bucket{le="0.1"} 1.0',
    ):
        assert line in text
    assert metered.owner is lane.owner
    metered.hurry()
    assert lane.hurried


def test_failures_are_counted_by_closed_words():
    metrics = ProviderMetrics()
    for code in ("capacity", "PRIVATE TEXT"):
        frame = encode(InferenceError(request_id="r", error="x", status_code=503, failure_code=code))
        RequestMeter(metrics, Throughput()).lane(Lane(), source="local").put(frame)
    text = metrics.render().decode()
    assert 'model="",outcome="capacity",source="local"} 1.0' in text
    assert 'outcome="internal_failure",source="local"} 1.0' in text
    assert "PRIVATE" not in text


def test_throughput_looks_at_the_last_full_seconds():
    counted = Throughput()
    for second in range(20):
        for _ in range(9):
            counted.note(second + 0.5)
    assert counted.per_second(20.0) == 9
    assert counted.per_second(24.0) == pytest.approx(5.0)
    assert counted.per_second(60.0) == 0
    assert counted.total == 180


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("Bearer abc.def-ghi next", "Bearer (removed) next"),
        ("key dk-local-" + "a" * 43, "key (removed)"),
        ("eigeninference-pt-" + "ab" * 32, "(removed)"),
        ("at /Users/jane/models and /home/joe/x", "at /Users/(removed)/models and /home/(removed)/x"),
        ("mail jane.doe@example.org now", "mail (removed) now"),
        ("from 203.0.113.7 to 127.0.0.1", "from (removed) to 127.0.0.1"),
        ("B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9/AsrhtHHw=", "(removed)"),
        ("hash " + "0f" * 32, "hash (removed)"),
        ("level=info tokens=12 model=org/name", "level=info tokens=12 model=org/name"),
    ],
)
def test_what_names_a_person_or_opens_a_door_is_taken_out(line, kept):
    assert redact(line) == kept


def entry(second, level="info", **fields):
    ts = f"2026-11-21T10:00:{second:02d}.000Z"
    return json.dumps({"ts": ts, "level": level, "logger": "x", "msg": f"m{second}", **fields})


def test_the_newest_lines_over_all_files(tmp_path):
    path = tmp_path / "provider.log"
    (tmp_path / "provider.log.1").write_text("\n".join([entry(1), entry(2, "debug")]) + "\n")
    path.write_text("\n".join([entry(3), "not json", entry(4, "error", model="m")]) + "\n")
    assert [found.raw for found in read_log(path, lines=3)] == [entry(3), "not json", entry(4, "error", model="m")]
    assert len(read_log(path, lines=50)) == 4
    assert len(read_log(path, lines=50, least="debug")) == 5
    since = parse_line(entry(3)).at
    assert [found.at for found in read_log(path, lines=50, since=since) if found.fields] == [since, since + 1]
    assert read_log(path, lines=50)[-1].text().endswith("ERROR x m4 model=m")


def test_a_followed_log_survives_its_rotation(tmp_path):
    path = tmp_path / "provider.log"
    path.write_text(entry(1) + "\n")
    seen, ready = [], threading.Event()

    def follow():
        lines = follow_log(path, poll=0.01)
        ready.set()
        for found in lines:
            seen.append(found.fields["msg"])
            if len(seen) == 2:
                return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    ready.wait(5)
    while not seen:
        with path.open("a") as file:
            file.write(entry(2) + "\n")
        thread.join(0.05)
    path.rename(tmp_path / "provider.log.1")
    path.write_text(entry(3) + "\n")
    thread.join(10)
    assert not thread.is_alive()
    assert seen[0] == "m2"


def test_a_log_file_is_private_and_bounded(tmp_path, monkeypatch):
    import logging

    from provider.observe import setup

    monkeypatch.setattr(setup, "FILE_BYTES", 2000)
    path = tmp_path / "provider.log"
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    try:
        configure_logging(form="auto", level="info", file=path)
        for number in range(200):
            logging.getLogger("provider.test").info("line", extra={"number": number})
        root.handlers[0].close()
    finally:
        root.handlers[:] = before
        root.setLevel(logging.WARNING)
        logging.getLogger("provider").setLevel(logging.NOTSET)
    files = sorted(tmp_path.iterdir())
    assert len(files) == OLD_FILES + 1
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert all(file.stat().st_size <= 2100 for file in files)
    assert json.loads(path.read_text().splitlines()[-1])["number"] == 199
