"""Metrics: closed labels, bounded series, text in a stable order, and who may read."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from server.observe import LinkMetrics, Metrics, RelayMetrics, may_read_metrics, render
from server.observe.families import MAX_SERIES, Families
from server.relay.settlement import BilledUsage, Outcome, SettlementRecord


def _text(metrics: Metrics | Families) -> str:
    families = metrics.families if isinstance(metrics, Metrics) else metrics
    return render(families.registry, "")[0].decode()


def test_histogram_counts_a_bound_in_its_own_bucket() -> None:
    families = Families()
    histogram = families.histogram("darkbloom_x_seconds", "x", (1, 5, 10))
    for amount in (0.5, 3, 7, 100, 5):
        histogram.observe(amount=amount)
    text = _text(families)
    for le, count in (("1.0", 1), ("5.0", 3), ("10.0", 4), ("+Inf", 5)):
        assert f'darkbloom_x_seconds_bucket{{le="{le}"}} {count}.0' in text
    assert "darkbloom_x_seconds_sum 115.5" in text


def test_unknown_label_values_become_other() -> None:
    metrics = Metrics()
    metrics.http_requests.inc("BREW", "/x", "200")
    metrics.http_requests.inc("GET", "/x", "200", by=2)
    text = _text(metrics)
    assert 'darkbloom_http_requests_total{method="GET",route="/x",status="200"} 2.0' in text
    assert 'darkbloom_http_requests_total{method="other",route="/x",status="200"} 1.0' in text
    assert 'darkbloom_metrics_series_folded_total{family="darkbloom_http_requests"} 1.0' in text


def test_series_of_a_family_are_bounded() -> None:
    families = Families()
    counter = families.counter("darkbloom_y", "y", model=None)
    for number in range(MAX_SERIES + 50):
        counter.inc(f"m{number}")
    text = _text(families)
    assert 'darkbloom_y_total{model="other"} 50.0' in text
    assert text.count("darkbloom_y_total{") == MAX_SERIES + 1
    assert 'darkbloom_metrics_series_folded_total{family="darkbloom_y"} 50.0' in text


def test_readings_are_bounded_and_read_on_demand() -> None:
    families = Families()
    amounts = [((f"v{number:05}",), 1.0) for number in range(MAX_SERIES + 3)]
    families.reading("darkbloom_z", "z", ("label",), lambda: amounts)
    assert 'darkbloom_z{label="other"} 3.0' in _text(families)
    amounts.clear()
    assert "darkbloom_z{" not in _text(families)


def test_label_values_are_escaped() -> None:
    families = Families()
    families.counter("darkbloom_e", "e", label=None).inc('a"b\\c,d=e\n')
    assert r'darkbloom_e_total{label="a\"b\\c,d=e\n"} 1.0' in _text(families)


def test_output_is_valid_and_sorted() -> None:
    metrics = Metrics()
    metrics.http_request_seconds.observe("POST", "/b", amount=1)
    metrics.http_request_seconds.observe("GET", "/a", amount=1)
    names = [family.name for family in parse_text(_text(metrics))]
    assert names == sorted(names)
    assert {"darkbloom_http_request_seconds", "process_start_time_seconds", "python_gc_collections"} <= set(names)
    text = _text(metrics)
    assert text.index('route="/a"') < text.index('route="/b"')
    assert "_created" not in text
    body, kind = render(metrics.families.registry, "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert len(list(parse_openmetrics(body.decode()))) == len(names)


@pytest.mark.parametrize(
    ("authorization", "token", "loopback", "allowed"),
    [
        (None, None, True, True),
        (None, None, False, False),
        ("Bearer x", None, False, False),
        (None, "secret", True, False),
        ("Bearer wrong", "secret", True, False),
        ("Basic secret", "secret", True, False),
        ("Bearer secret", "secret", False, True),
        ("bearer  secret ", "secret", False, True),
    ],
)
def test_who_may_read(authorization: str | None, token: str | None, loopback: bool, allowed: bool) -> None:
    assert may_read_metrics(authorization=authorization, token=token, client_is_loopback=loopback) is allowed


def test_relay_and_link_reports_become_metrics() -> None:
    metrics = Metrics()
    relay, link = RelayMetrics(metrics), LinkMetrics(metrics)
    relay.attempt_ended("demo", "success")
    relay.settlement_failed()
    relay.request_ended(
        SettlementRecord(
            coord_request_id="c",
            job_id="j",
            account_id=None,
            key_id=None,
            public_model="demo",
            build="demo",
            session_id="s",
            provider_id="p",
            provider_account_id=None,
            stream=True,
            outcome=Outcome.SUCCESS,
            status=200,
            usage=BilledUsage(prompt_tokens=7, completion_tokens=11),
            delivered_deltas=10,
            delivered_text_bytes=40,
            max_tokens=100,
            attempts=1,
            started_at=10.0,
            ended_at=12.0,
            segments={"parse_us": 1000, "provider_us": 999_000},
        )
    )
    link.count("registered")
    link.wire_time(100_000, 0.2)
    text = _text(metrics)
    for line in (
        'darkbloom_dispatch_attempts_total{model="demo",result="success"} 1.0',
        "darkbloom_settlement_failures_total 1.0",
        'darkbloom_inference_requests_total{endpoint="chat_completions",model="demo",outcome="success",'
        'stream="true"} 1.0',
        'darkbloom_tokens_total{direction="prompt",model="demo"} 7.0',
        'darkbloom_ttft_seconds_sum{model="demo"} 1.0',
        'darkbloom_e2e_seconds_sum{model="demo"} 2.0',
        'darkbloom_decode_tps_sum{model="demo"} 10.0',
        'darkbloom_link_events_total{event="registered"} 1.0',
        'darkbloom_ws_write_seconds_count{size="1MiB"} 1.0',
    ):
        assert line in text, line


def test_segments_are_counted_by_name_and_their_sum_is_none_of_them() -> None:
    metrics = Metrics()
    record = SettlementRecord(
        coord_request_id="c",
        job_id="j",
        account_id=None,
        key_id=None,
        public_model="demo",
        build="demo",
        session_id="s",
        provider_id="p",
        provider_account_id=None,
        stream=False,
        outcome=Outcome.SUCCESS,
        status=200,
        usage=None,
        delivered_deltas=0,
        delivered_text_bytes=0,
        max_tokens=1,
        attempts=1,
        started_at=0.0,
        ended_at=1.0,
        segments={"parse_us": 2_000, "total_us": 2_000},
    )
    RelayMetrics(metrics).request_ended(record)
    text = _text(metrics)
    assert 'darkbloom_segment_seconds_count{segment="parse"} 1.0' in text
    assert 'darkbloom_segment_seconds_count{segment="queue"} 0.0' in text
    assert 'segment="other"' not in text
    assert 'darkbloom_metrics_series_folded_total{family="darkbloom_segment_seconds"} 1.0' not in text
