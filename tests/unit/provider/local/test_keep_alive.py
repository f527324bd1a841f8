"""Spans as Ollama's clients write them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.api.errors import ApiError
from provider.local.keep_alive import read_keep_alive


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (None, None),
        ("", None),
        (0, 0.0),
        ("0", 0.0),
        ("0s", 0.0),
        (300, 300.0),
        (1.5, 1.5),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("+1.5h", 5400.0),
        ("250ms", 0.25),
        (10**400, 1e9),
        (-1, math.inf),
        (-(10**400), math.inf),
        ("-1m", math.inf),
    ],
)
def test_spans(written, seconds):
    assert read_keep_alive(written) == seconds


@pytest.mark.parametrize("written", ["5", "soon", "1d", "m", "1m x", True, [], {}, "1m" * 40, "\u0661m", "-"])
def test_what_is_no_span_is_refused_with_the_form(written):
    with pytest.raises(ApiError) as caught:
        read_keep_alive(written)
    assert (caught.value.status, caught.value.param) == (400, "keep_alive")
    assert '"10m"' in caught.value.message


@given(st.integers() | st.floats() | st.text() | st.from_regex(r"[+-]?([0-9.]{1,4}(ns|us|ms|s|m|h)){0,3}"))
def test_any_span_is_seconds_or_refused(written):
    try:
        seconds = read_keep_alive(written)
    except ApiError:
        return
    assert seconds is None or seconds >= 0
