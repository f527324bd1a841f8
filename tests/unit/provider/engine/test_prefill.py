"""How long decoding rows stand still while prompts join, counted in a virtual time that steps of a model take."""

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.engine import EngineLimits
from provider.engine.prefill import Pace, chunk_tokens, is_long
from provider.engine.watchdog import Health, judge
from tests.testbed.byte_model import byte_model
from tests.testbed.engine_core import CoreBench

STANDSTILL_SECONDS = 0.25
"""What a customer may notice at most."""

BESIDE = Pace(decoding=True)
ALONE = Pace(decoding=False)


@dataclasses.dataclass(frozen=True)
class Machine:
    """Seconds of a step: `step` if rows decode, and for prompts `chunk` once and `token` for each one.

    `depth` is what every token before a chunk adds to each of the chunk's tokens.
    """

    step: float
    chunk: float
    token: float
    depth: float = 0.0

    def __call__(self, work):
        seconds = self.step if work.decoded else 0.0
        if work.prompt:
            seconds += self.chunk + work.prompt * (self.token + self.depth * work.before)
        return seconds


MACHINES = {
    "fast": Machine(step=0.004, chunk=0.002, token=1 / 20_000),
    "usual": Machine(step=0.02, chunk=0.015, token=1 / 1_000),
    "slow": Machine(step=0.03, chunk=0.03, token=1 / 400),
    "slower the longer a prompt is": Machine(step=0.005, chunk=0.005, token=1 / 3_000, depth=1 / 3_000_000),
}


def open_bench(machine, **options):
    bench = CoreBench(
        model=byte_model(context_tokens=100_000), headroom=10**12, limits=EngineLimits(**options), work=machine
    )
    for _ in range(2):  # what the engine measures once
        bench.submit("x" * 600, max_tokens=8)
        bench.turn(30)
    assert not bench.core.has_rows
    return bench


def standstills(bench, sink, until):
    """Seconds between the tokens of `sink`, from now until everything in `until` has its first token."""
    stamps, seen = [bench.now], len(sink.events)
    while any(not other.events for other in until):
        assert sink.end is None, "the running row is too short for this test"
        bench.turn()
        if len(sink.events) > seen:
            seen = len(sink.events)
            stamps.append(bench.now)
    return [after - before for before, after in itertools.pairwise([*stamps, bench.now])]


@pytest.mark.parametrize("name", MACHINES)
def test_a_joining_prompt_never_holds_up_a_running_row(name):
    bench = open_bench(MACHINES[name])
    running = bench.submit("z", max_tokens=2000)
    bench.turn(10)
    bench.steps.clear()
    gaps = standstills(bench, running, [bench.submit("y" * 2048, max_tokens=4)])
    assert max(gaps) <= STANDSTILL_SECONDS
    assert sum(work.prompt for work in bench.steps) == 2048
    assert all(work.decoded for work in bench.steps)


def test_a_prompt_in_another_generator_waits_for_the_running_row_too():
    """Short and long rows have generators of their own, whose steps share a turn."""
    bench = open_bench(MACHINES["usual"])
    running = bench.submit("z", max_tokens=2000)
    bench.turn(10)
    joining = bench.submit("y" * 2048, max_tokens=40_000)
    assert max(standstills(bench, running, [joining])) <= STANDSTILL_SECONDS
    assert len(bench.backends[0].generators) == 2


def test_a_prompt_for_another_model_waits_for_the_running_row_too():
    bench = open_bench(MACHINES["usual"])
    bench.attach(byte_model("second"))
    running = bench.submit("z", max_tokens=2000)
    bench.turn(10)
    assert max(standstills(bench, running, [bench.submit("y" * 2048, model="second")])) <= STANDSTILL_SECONDS


def test_many_prompts_at_once_share_a_turn():
    bench = open_bench(MACHINES["usual"], max_concurrent=16)
    running = bench.submit("z", max_tokens=2000)
    bench.turn(10)
    joining = [bench.submit("y" * 200, max_tokens=size) for size in (4, 10_000, 40_000) for _ in range(4)]
    assert max(standstills(bench, running, joining)) <= STANDSTILL_SECONDS
    assert len(bench.backends[0].generators) == 3


def test_the_first_prompt_that_is_ever_measured_does_not_hold_up_a_running_row():
    """Until then nothing but prompts of a few tokens came, which say nothing about speed."""
    bench = CoreBench(work=MACHINES["slow"])
    running = bench.submit("z", max_tokens=2000)
    bench.turn(10)
    gaps = standstills(bench, running, [bench.submit("y" * 1024, max_tokens=4)])
    assert max(gaps) <= STANDSTILL_SECONDS


def test_one_slow_step_does_not_lengthen_the_next_chunk():
    bench = open_bench(MACHINES["usual"])
    running = bench.submit("z", max_tokens=2000)
    bench.turn(10)
    bench.work = dataclasses.replace(MACHINES["usual"], step=0.9)
    bench.turn()
    bench.work = MACHINES["usual"]
    assert max(standstills(bench, running, [bench.submit("y" * 2048, max_tokens=4)])) <= STANDSTILL_SECONDS


def test_a_machine_that_becomes_slow_makes_one_long_turn():
    bench = open_bench(MACHINES["usual"])
    running = bench.submit("z", max_tokens=2000)
    bench.turn(10)
    bench.work = Machine(step=0.02, chunk=0.02, token=1 / 200)
    gaps = standstills(bench, running, [bench.submit("y" * 1024, max_tokens=4)])
    assert sum(gap > STANDSTILL_SECONDS for gap in gaps) <= 1


@given(
    step=st.floats(0.0005, 0.3),
    part=st.floats(0.0, 1.0),
    token=st.floats(1 / 50_000, 1 / 200),
    rows=st.integers(1, 6),
)
def test_no_machine_stands_still_for_longer_than_its_own_steps_demand(step, part, token, rows):
    """A chunk costs at most about as much as a step before its first token, because both read all weights."""
    machine = Machine(step=step, chunk=part * step, token=token)
    bench = open_bench(machine)
    running = bench.submit("z", max_tokens=4000)
    bench.turn(10)
    joining = [bench.submit("y" * 240, max_tokens=4) for _ in range(rows)]
    gaps = standstills(bench, running, joining)
    smallest = machine.chunk + 16 * token
    assert max(gaps) <= step + max(0.1, 2 * step, smallest) + machine.chunk + 0.001


@pytest.mark.parametrize("step", [0.02, 0.08, 0.5])
def test_a_slow_machine_still_gets_prompts_through(step):
    """At least a third of the time goes into prompts while one is there, however long a step is."""
    machine = Machine(step=step, chunk=step, token=step / 100)
    bench = open_bench(machine)
    running = bench.submit("z", max_tokens=3000)
    bench.turn(10)
    began = bench.now
    standstills(bench, running, [bench.submit("y" * 2048, max_tokens=4)])
    assert 2048 * machine.token / (bench.now - began) > 0.3


def test_the_first_prompt_of_a_very_slow_machine_does_not_look_like_a_stuck_engine():
    bench = CoreBench(work=Machine(step=0.2, chunk=0.2, token=1 / 5))
    bench.submit("y" * 512, max_tokens=4)
    while not bench.core.snapshot.slots or not bench.slot.first_tokens_emitted:
        began = bench.now
        bench.turn()
        assert judge(began, bench.now, EngineLimits()) is Health.GOOD


def test_alone_a_prompt_takes_large_chunks_of_a_second_at_most():
    bench = open_bench(MACHINES["usual"])
    bench.steps.clear()
    bench.submit("y" * 8192, max_tokens=4)
    before = bench.now
    while bench.slot.first_tokens_emitted < 3:
        bench.turn()
        assert bench.now - before <= 1.1
        before = bench.now
    assert max(work.prompt for work in bench.steps) > 700


@pytest.mark.parametrize(
    ("speed", "pace", "rows", "step", "chunk"),
    [
        (None, ALONE, 1, 0.0, 64),
        (None, BESIDE, 1, 0.0, 16),
        (1000.0, BESIDE, 1, 0.0, 100),
        (1000.0, BESIDE, 1, 0.02, 100),
        (1000.0, BESIDE, 1, 0.2, 400),
        (1000.0, ALONE, 1, 0.2, 1000),
        (10.0, BESIDE, 1, 0.0, 16),
        (1e6, ALONE, 1, 0.0, 2048),
        (1000.0, ALONE, 4, 0.0, 250),
        (1000.0, Pace(decoding=True, generators=2), 4, 0.0, 12),
        (10.0, BESIDE, 24, 0.0, 1),
    ],
)
def test_chunk_tokens(speed, pace, rows, step, chunk):
    assert chunk_tokens(speed, pace, rows=rows, step_seconds=step) == chunk


def test_a_long_prompt_takes_more_than_two_chunks():
    assert [is_long(tokens, 1000.0, decoding=True) for tokens in (256, 257)] == [False, True]
    assert [is_long(tokens, 1000.0, decoding=False) for tokens in (2000, 2001)] == [False, True]
    assert [is_long(tokens, None, decoding=False) for tokens in (256, 257)] == [False, True]
