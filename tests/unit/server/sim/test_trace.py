"""Traces: what is read, what is refused and how it is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from server.sim.errors import SimulationError
from server.sim.trace import Arrival, prompt_range, read_trace, write_trace

if TYPE_CHECKING:
    from pathlib import Path


def test_a_line_of_the_documented_form_is_read(tmp_path: Path) -> None:
    path = tmp_path / "trace.ndjson"
    path.write_text(
        '{"t_ms":0,"model":"m","prompt":1000,"max_tokens":256,"out":180,"account":"a","tools":false,"vision":false,'
        '"prefix":"h1","prefix_tokens":600,"actual_ttft_ms":null,"served_by":null}\n'
    )
    (arrival,) = read_trace(path)
    assert arrival == Arrival(
        t_ms=0, model="m", prompt=1000, max_tokens=256, out=180, account="a", prefix="h1", prefix_tokens=600
    )


def test_what_is_written_is_read_back_in_order_of_time(tmp_path: Path) -> None:
    path = tmp_path / "trace.ndjson"
    late, early = Arrival(t_ms=5.5, model="m", prompt=10), Arrival(t_ms=1, model="n", prompt=20, out=3)
    write_trace(path, [late, early])
    assert read_trace(path) == [early, late]


def test_an_unknown_length_of_answer_is_a_usual_one_within_the_bound() -> None:
    assert Arrival(t_ms=0, model="m", prompt=1).answer_tokens == 180
    assert Arrival(t_ms=0, model="m", prompt=1, max_tokens=50).answer_tokens == 50
    assert Arrival(t_ms=0, model="m", prompt=1, max_tokens=50, out=0).answer_tokens == 1


def test_bad_lines_are_named_by_number_and_their_content_stays_hidden(tmp_path: Path) -> None:
    path = tmp_path / "trace.ndjson"
    path.write_text('{"t_ms":0,"model":"m","prompt":1}\n\n{"t_ms":-1,"model":"m","prompt":1}\nthe secret\n')
    with pytest.raises(SimulationError) as caught:
        read_trace(path)
    text = str(caught.value)
    assert "line 3" in text
    assert "line 4: not a JSON object" in text
    assert "secret" not in text
    assert "line 1" not in text


def test_many_bad_lines_are_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "trace.ndjson"
    path.write_text("x\n" * 1_000)
    with pytest.raises(SimulationError, match=r"line 5: .*; and more"):
        read_trace(path)


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_trace_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trace.ndjson"
    path.write_text(text)
    with pytest.raises(SimulationError, match="holds no arrival"):
        read_trace(path)


def test_a_line_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.ndjson"
    path.write_text("x" * 100_000)
    with pytest.raises(SimulationError, match="Line 1 of the trace is longer than 65536 bytes"):
        read_trace(path)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match="cannot be read"):
        read_trace(tmp_path / "nothing")


def test_a_range_of_prompts_is_spread_evenly() -> None:
    assert prompt_range(64, 500, 4) == [64, 173, 282, 391]


@pytest.mark.parametrize(("low", "high", "count"), [(5, 5, 1), (0, 10, 0), (-1, 10, 2)])
def test_an_empty_range_is_an_error(low: int, high: int, count: int) -> None:
    with pytest.raises(SimulationError, match="is empty"):
        prompt_range(low, high, count)
