"""Counters and forecasts that are fed from elsewhere: queue time, faults, downloads, times to the first delta."""

import pytest

from protocol.codec import encode
from protocol.messages.from_provider import InferenceAccepted, InferenceComplete, Usage
from provider.observe.first_tokens import FRESH_SECONDS, MAX_MODELS, MAX_SAMPLES, FirstTokenTimes
from provider.observe.meter import RequestMeter
from provider.observe.metrics import ProviderMetrics
from provider.observe.throughput import Throughput

CHUNK = b'{"type":"inference_response_chunk","request_id":"r","encrypted_data":{}}'


class Lane:
    owner = None

    def put(self, frame):
        pass


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_totals_follow_what_was_counted_elsewhere():
    metrics = ProviderMetrics()
    for total in (2, 2, 5):
        metrics.set_total("engine_faults", total)
    metrics.set_total("ws_reconnects", 1)
    metrics.downloaded(1000)
    metrics.downloaded(24)
    metrics.queued(0.2)
    text = metrics.render().decode()
    for line in (
        "darkbloom_provider_engine_faults_total 5.0",
        "darkbloom_provider_ws_reconnects_total 1.0",
        "darkbloom_provider_download_bytes_total 1024.0",
        'darkbloom_provider_queue_seconds_bucket{le="0.1"} 0.0',
        'darkbloom_provider_queue_seconds_bucket{le="0.25"} 1.0',
    ):
        assert line in text


@pytest.mark.parametrize(("frames", "samples"), [([], (0.5,)), ([encode(InferenceAccepted(request_id="r"))], ())])
def test_times_to_the_first_delta_are_kept_but_for_loads(frames, samples):
    clock = Clock()
    meter = RequestMeter(ProviderMetrics(), Throughput(), clock=clock)
    lane = meter.lane(Lane(), source="coordinator")
    meter.note_model("m")
    for frame in frames:
        lane.put(frame)
    clock.now += 0.5
    lane.put(CHUNK)
    clock.now += 3.0
    lane.put(encode(InferenceComplete(request_id="r", usage=Usage(prompt_tokens=700, completion_tokens=2))))
    assert meter.first_tokens.like("m", 1024) == samples


def test_only_prompts_of_like_length_count():
    times = FirstTokenTimes(Clock())
    for tokens, seconds in ((10, 0.3), (500, 0.1), (1024, 0.2), (4096, 0.4)):
        times.note("m", tokens, seconds)
    assert times.like("m", 512) == (0.1, 0.2, 0.3)
    assert times.like("m", 2048) == (0.2, 0.4)
    assert times.like("m", 16384) == ()
    assert times.like("other", 512) == ()


def test_samples_and_models_are_bounded():
    times = FirstTokenTimes(Clock())
    for number in range(MAX_SAMPLES + 9):
        times.note("m", 100, float(number))
    assert times.like("m", 100)[0] == 9.0
    for number in range(MAX_MODELS):
        times.note(f"m{number}", 100, 1.0)
    assert times.like("m", 100) == ()
    assert times.like("m0", 100) == (1.0,)


def test_what_was_slow_long_ago_says_nothing():
    """A forecast that keeps requests away is never measured again."""
    clock = Clock()
    times = FirstTokenTimes(clock)
    times.note("m", 100, 30.0)
    clock.now += FRESH_SECONDS - 1
    times.note("m", 100, 0.1)
    assert times.like("m", 100) == (0.1, 30.0)
    clock.now += 1
    assert times.like("m", 100) == (0.1,)
