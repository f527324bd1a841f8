"""The benchmark on a tiny model, its records, its table and what it keeps."""

import json
from dataclasses import replace

import pytest

from provider.benchmark import (
    BenchmarkOptions,
    BenchmarkPlan,
    BenchmarkReport,
    Cell,
    Facts,
    Samples,
    SavedSpeeds,
    measure_arrival,
    measure_prompt,
    measure_table,
    parse_sizes,
    run_benchmark,
    save_speeds,
    saved_speeds,
)
from provider.benchmark.measure import MeasurementFailed, endless
from provider.benchmark.saved import FILE_NAME
from provider.benchmark.show import table
from provider.memory.policy import PolicySettings
from tests.testbed.needs import module
from tests.testbed.tiny_model import build_tiny_model

FACTS = Facts(
    model="m",
    weight_hash="",
    weight_bytes=4_000_000_000,
    load_ms=3100.0,
    chip="Apple M4 Max",
    memory_gb=128,
    bandwidth_gbs=546.0,
    versions={},
)
PLAN = BenchmarkPlan(iterations=2, prefill_lengths=(20, 40, 9_000), batch_sizes=(1, 2, 4), decode_tokens=12)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    module("mlx.core")
    from provider.models.load import load_model

    return endless(load_model("tiny", build_tiny_model(tmp_path_factory.mktemp("tiny"))))


def dev_memory():
    """Reserves that leave room on a small machine."""
    return PolicySettings(cap_fraction=1.0, operator_reserve=0, activation_reserve=None)


async def measured(tiny, call):
    from provider.engine import EngineFront, EngineLimits

    async with EngineFront.open(headroom=lambda: 1 << 30, limits=EngineLimits(), on_fatal=pytest.fail) as engine:
        await engine.attach_model(tiny)
        return await call(engine)


async def test_the_table_has_a_cell_for_every_size_that_fits(tiny):
    steps = []
    prefill, decode, parity = await measured(
        tiny, lambda engine: measure_table(engine, tiny, PLAN, progress=steps.append)
    )
    assert [cell.size for cell in prefill] == [20, 40]
    assert [cell.size for cell in decode] == [1, 2, 4]
    assert parity is True
    for cell in [*prefill, *decode]:
        speeds = cell.tokens_per_second
        assert len(speeds.samples) == 2
        assert 0 < speeds.min <= speeds.median <= speeds.max
    assert all(cell.ttft_ms.median > 0 for cell in prefill)
    assert len(steps) == 5 * 3


async def test_one_prompt(tiny):
    first, rest = await measured(
        tiny,
        lambda engine: measure_prompt(engine, tiny, (5, 6, 7), max_tokens=8, iterations=1, progress=lambda _: None),
    )
    assert (first.size, rest.size) == (3, 1)
    assert first.ttft_ms.median > 0
    assert rest.tokens_per_second.median > 0


async def test_arrival_gives_the_same_texts(tiny):
    result = await measured(
        tiny, lambda engine: measure_arrival(engine, tiny, BenchmarkPlan(iterations=1, decode_tokens=6), progress=str)
    )
    assert result.same_output
    assert result.staggered_seconds.median >= 0.15


async def test_a_run_from_folder_to_report(tmp_path):
    module("mlx.core")
    directory = build_tiny_model(tmp_path / "tiny")
    options = BenchmarkOptions(model_id="tiny", directory=directory, plan=PLAN, memory=dev_memory())
    report = await run_benchmark(options, progress=lambda _: None)
    assert report.facts.model == "tiny"
    assert report.facts.weight_bytes > 0
    assert report.peak_memory_bytes > report.facts.weight_bytes
    assert report.parity is True
    prompt = replace(options, mode="prompt", prompt="hello world", max_tokens=4)
    report = await run_benchmark(prompt, progress=lambda _: None)
    assert report.prefill[0].size > 1
    arrival = await run_benchmark(replace(options, mode="arrival"), progress=lambda _: None)
    assert arrival.arrival.same_output


async def test_a_prompt_beyond_the_context_fails_in_words(tmp_path):
    module("mlx.core")
    directory = build_tiny_model(tmp_path / "tiny")
    options = BenchmarkOptions(
        model_id="tiny", directory=directory, mode="prompt", prompt="a b " * 4000, memory=dev_memory()
    )
    with pytest.raises(MeasurementFailed, match="limit is 4096"):
        await run_benchmark(options, progress=lambda _: None)


def cell(size, *speeds, ttft=None):
    return Cell(
        size=size, tokens_per_second=Samples.of(list(speeds)), ttft_ms=None if ttft is None else Samples.of([ttft])
    )


def report(**fields):
    return BenchmarkReport(facts=FACTS, **fields)


def test_derived_figures():
    full = report(prefill=[cell(128, 1210.0), cell(2048, 1295.0)], decode=[cell(1, 90.0, 101.0, 92.1), cell(16, 560.0)])
    assert full.prefill_tps == 1295.0
    assert full.decode_tps == 92.1
    assert full.bandwidth_use == pytest.approx(92.1 * 4 / 546)
    assert report().prefill_tps is report().decode_tps is report().bandwidth_use is None
    written = json.loads(json.dumps(full.as_json()))
    assert written["decode"][0]["tokens_per_second"] == {
        "median": 92.1,
        "min": 90.0,
        "max": 101.0,
        "samples": [90.0, 101.0, 92.1],
    }
    assert written["decode_tps"] == 92.1


def test_the_table_reads_like_one():
    shown = table(
        report(
            prefill=[cell(128, 1210.0, ttft=106.0)],
            decode=[cell(1, 92.1), cell(16, 560.0)],
            parity=True,
            peak_memory_bytes=6_200_000_000,
        )
    )
    assert shown.splitlines() == [
        "m   Apple M4 Max, 128 GB, 546 GB/s",
        "prefill   128 tok: 1,210 tok/s, TTFT 106 ms",
        "decode    batch 1: 92.1 tok/s | batch 16: 560 tok/s   (per row 92.1 … 35.0)",
        "parity    greedy text is the same in every batch",
        "bandwidth use (batch 1): 67%   load 3.1 s   peak memory 6.2 GB",
    ]


@pytest.mark.parametrize(("text", "sizes"), [("1,2, 4", (1, 2, 4)), ("8", (8,)), ("2,2", (2,))])
def test_sizes_are_read(text, sizes):
    assert parse_sizes(text) == sizes


@pytest.mark.parametrize("text", ["", "0", "1,,2", "a", "-1", "99999999", "1.5", "²"])
def test_bad_sizes_are_named(text):
    with pytest.raises(ValueError, match="is not a number from 1 to"):
        parse_sizes(text)


def test_speeds_are_kept_for_each_model(tmp_path):
    home = tmp_path / "home"
    save_speeds(home, "a", SavedSpeeds(prefill_tps=1.0, decode_tps=2.0))
    save_speeds(home, "b", SavedSpeeds(prefill_tps=3.0, decode_tps=4.0))
    save_speeds(home, "a", SavedSpeeds(prefill_tps=5.0, decode_tps=6.0))
    assert saved_speeds(home, ["x", "a", "b"]).prefill_tps == 5.0
    assert saved_speeds(home, ["x"]) is None
    assert [path.name for path in home.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"a":{}}'])
def test_an_unreadable_file_is_empty(tmp_path, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    assert saved_speeds(tmp_path, ["a"]) is None
    save_speeds(tmp_path, "a", SavedSpeeds(prefill_tps=1.0, decode_tps=2.0))
    assert saved_speeds(tmp_path, ["a"]) is not None
