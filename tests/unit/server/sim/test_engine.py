"""The truth of one machine, on examples that can be worked out by hand."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from server.sim.catalog import SimModel
from server.sim.engine import BESIDE_DECODE, BESIDE_PREFILL, PREFILL_OVERHEAD, Engine
from server.sim.fleet import MachineSpec
from server.sim.kernel import Kernel
from server.sim.work import Stage, Work

if TYPE_CHECKING:
    from protocol.failure import AttemptFailure

MODELS = {name: SimModel(id=name, size_gb=5.0, kv_rate=65_536) for name in ("m", "n", "o", "p")}
SPEC = MachineSpec(
    id="p", mem=64.0, decode=50.0, prefill=500.0, models=tuple(MODELS), warm=("m",), batch_slowdown=0.5, concurrency=4
)


class Ear:
    """Notes what an attempt hears, with the time."""

    def __init__(self, kernel: Kernel) -> None:
        self.heard: list[tuple[str, float]] = []
        self.failure: AttemptFailure | None = None
        self._kernel = kernel

    def on_accepted(self) -> None:
        self.heard.append(("accepted", self._kernel.now))

    def on_content(self) -> None:
        self.heard.append(("content", self._kernel.now))

    def on_complete(self, tokens: int) -> None:
        self.heard.append((f"complete {tokens}", self._kernel.now))

    def on_error(self, failure: AttemptFailure) -> None:
        self.failure = failure

    def when(self, what: str) -> float:
        return dict(self.heard)[what]


class Bench:
    """One engine with its clock."""

    def __init__(self, spec: MachineSpec = SPEC) -> None:
        self.kernel = Kernel()
        self.loaded: list[str] = []
        self.engine = Engine(
            self.kernel, spec, MODELS, Random(1), on_loaded=lambda name, _seconds, _ok: self.loaded.append(name)
        )
        self._number = 0

    def ask(self, *, prompt: int = 100, out: int = 101, max_tokens: int = 200, model: str = "m") -> tuple[Ear, Work]:
        self._number += 1
        ear = Ear(self.kernel)
        work = Work(
            request_id=f"r{self._number}", model=model, prompt=prompt, max_tokens=max_tokens, out=out, events=ear
        )
        ear.failure = self.engine.submit(work)
        return ear, work

    def tokens_in_use(self) -> int:
        return sum(slot.used + slot.queued for slot in self.engine.slots.values())


def test_one_stream_prefills_and_decodes_at_its_solo_speed() -> None:
    bench = Bench()
    ear, _ = bench.ask(prompt=500, out=101)
    bench.kernel.run(60.0)
    assert ear.when("content") == pytest.approx(PREFILL_OVERHEAD + 500 / 500)
    assert ear.when("complete 101") == pytest.approx(ear.when("content") + 100 / 50)


def test_a_machine_in_the_middle_of_an_answer_has_been_busy_until_now() -> None:
    bench = Bench()
    bench.ask(prompt=500, out=101)
    bench.kernel.run(2.0)
    assert bench.engine.busy_seconds == pytest.approx(2.0)
    bench.kernel.run(60.0)
    assert bench.engine.busy_seconds == pytest.approx(PREFILL_OVERHEAD + 500 / 500 + 100 / 50)


def test_streams_slow_each_other_down_and_speed_up_when_one_ends() -> None:
    bench = Bench()
    short, _ = bench.ask(prompt=0, out=26)
    long, _ = bench.ask(prompt=0, out=76)
    bench.kernel.run(60.0)
    both = 2 * PREFILL_OVERHEAD
    assert short.when("content") == long.when("content") == pytest.approx(both)
    end_of_short = both + 25 * 1.5 / 50
    assert short.when("complete 26") == pytest.approx(end_of_short)
    assert long.when("complete 76") == pytest.approx(end_of_short + 50 / 50)


def test_decoding_crawls_while_a_prompt_is_prefilled_and_the_prompt_takes_a_little_longer() -> None:
    bench = Bench()
    stream, _ = bench.ask(prompt=0, out=101)
    bench.kernel.run(1.0 + PREFILL_OVERHEAD)
    prompt, work = bench.ask(prompt=1_000, out=1)
    bench.kernel.run(60.0)
    assert work.stage is Stage.OVER
    seconds = (2.0 + PREFILL_OVERHEAD) / BESIDE_DECODE
    assert prompt.when("content") == pytest.approx(1.0 + PREFILL_OVERHEAD + seconds)
    left = 50 - seconds * 50 * BESIDE_PREFILL
    assert stream.when("complete 101") == pytest.approx(prompt.when("content") + left / 50)


def test_of_two_long_prompts_the_second_waits_and_a_short_one_passes_it() -> None:
    bench = Bench()
    first, _ = bench.ask(prompt=1_000, out=1)
    second, waiting = bench.ask(prompt=1_000, out=1)
    short, _ = bench.ask(prompt=100, out=1)
    assert waiting.stage is Stage.WAITING
    bench.kernel.run(20.0)
    alone = 2.0 + PREFILL_OVERHEAD
    passing = 0.2 + PREFILL_OVERHEAD
    assert short.when("content") == pytest.approx(2 * passing)
    assert first.when("content") == pytest.approx(alone + passing)
    assert second.when("content") == pytest.approx(first.when("content") + alone)


def test_more_than_the_machine_runs_at_once_waits_inside_and_is_admitted_in_order() -> None:
    bench = Bench()
    works = [bench.ask(prompt=0, out=50)[1] for _ in range(6)]
    slot = bench.engine.slots["m"]
    assert (slot.running, len(slot.waiting)) == (4, 2)
    bench.kernel.run(100.0)
    assert [work.stage for work in works] == [Stage.OVER] * 6
    assert bench.engine.served == 6
    assert bench.tokens_in_use() == 0


def test_a_request_beyond_the_memory_is_refused_with_a_capacity_code() -> None:
    bench = Bench()
    room = bench.engine.budget_max(bench.engine.slots["m"])
    ear, _ = bench.ask(prompt=10, out=1, max_tokens=room - 10)
    assert ear.failure is None
    ear, _ = bench.ask(prompt=10, out=1, max_tokens=1)
    assert ear.failure is not None
    assert (ear.failure.code, ear.failure.reason, ear.failure.health) == (
        "capacity",
        "token_budget_exhausted",
        "capacity",
    )


def test_a_cancel_frees_everything_wherever_the_attempt_is() -> None:
    bench = Bench()
    _, decoding = bench.ask(prompt=0, out=500, max_tokens=500)
    bench.kernel.run(1.0)
    _, prefilling = bench.ask(prompt=5_000)
    _, queued = bench.ask(prompt=5_000)
    bench.kernel.run(2.0)
    assert (decoding.stage, prefilling.stage, queued.stage) == (Stage.DECODE, Stage.PREFILL, Stage.WAITING)
    for work in (prefilling, queued, decoding):
        bench.engine.cancel(work.request_id)
        bench.engine.cancel(work.request_id)
    assert bench.tokens_in_use() == 0
    assert not bench.engine.is_busy
    assert 475 <= bench.engine.wasted_tokens <= 490
    ear, _ = bench.ask(prompt=500, out=2)
    now = bench.kernel.now
    bench.kernel.run(now + 10)
    assert ear.when("content") == pytest.approx(now + PREFILL_OVERHEAD + 1.0)


def test_a_model_on_disk_is_loaded_on_demand_and_the_request_waits_for_it() -> None:
    bench = Bench()
    ear, work = bench.ask(model="n", prompt=0, out=2)
    assert work.stage is Stage.LOADING
    assert ear.heard == [("accepted", 0.0)]
    bench.kernel.run(30.0)
    assert bench.loaded == ["n"]
    assert 3.5 < ear.when("content") < 7.0


def test_an_idle_model_is_evicted_for_another_one_and_a_busy_one_is_not() -> None:
    small = MachineSpec(id="s", mem=16.0, models=("m", "n"), warm=("m",))
    busy = Bench(small)
    busy.ask(out=500, max_tokens=500)
    ear, _ = busy.ask(model="n")
    assert ear.failure is not None
    assert ear.failure.reason == "model_load"
    idle = Bench(small)
    ear, _ = idle.ask(model="n")
    assert ear.failure is None
    assert set(idle.engine.slots) == {"n"}


def test_a_load_soon_after_the_eviction_of_the_same_model_counts_as_thrash() -> None:
    bench = Bench(MachineSpec(id="s", mem=16.0, models=("m", "n"), warm=("m",)))
    for model in ("n", "m", "n"):
        bench.ask(model=model, out=1)
        bench.kernel.run(bench.kernel.now + 30.0)
    assert (bench.engine.loads, bench.engine.thrashed) == (3, 2)


def test_a_stalled_machine_takes_work_and_produces_nothing_until_it_goes_on() -> None:
    bench = Bench()
    running, _ = bench.ask(prompt=0, out=1_000, max_tokens=1_000)
    bench.kernel.run(1.0)
    bench.engine.stall(True)
    waiting, _ = bench.ask(prompt=0, out=10)
    bench.kernel.run(100.0)
    assert [what for what, _ in running.heard] == ["content"]
    assert waiting.heard == []
    bench.engine.stall(False)
    bench.kernel.run(200.0)
    assert [what for what, _ in waiting.heard] == ["content", "complete 10"]
    assert running.heard[-1][0] == "complete 1000"


def test_sleep_forgets_what_ran_and_keeps_the_weights_and_a_restart_keeps_nothing() -> None:
    bench = Bench()
    ear, _ = bench.ask(prompt=0, out=100)
    bench.ask(model="n")
    bench.engine.stop()
    bench.kernel.run(100.0)
    assert ear.heard == []
    assert set(bench.engine.slots) == {"m"}
    assert bench.tokens_in_use() == 0
    bench.engine.restart()
    assert not bench.engine.slots


def test_a_prefix_that_the_machine_knows_is_not_prefilled_again() -> None:
    bench = Bench()

    works = []

    def ask(prompt: int, shared: int) -> Ear:
        ear = Ear(bench.kernel)
        work = Work(
            request_id=f"x{prompt}",
            model="m",
            prompt=prompt,
            max_tokens=10,
            out=1,
            events=ear,
            prefix="talk",
            prefix_tokens=shared,
        )
        works.append(work)
        bench.engine.submit(work)
        bench.kernel.run(bench.kernel.now + 100.0)
        return ear

    first, began = ask(1_000, 0), bench.kernel.now
    second = ask(1_500, 1_000)
    assert first.when("content") == pytest.approx(PREFILL_OVERHEAD + 2.0)
    assert second.when("content") - began == pytest.approx(PREFILL_OVERHEAD + 1.0)
    assert (bench.engine.prefix_hits, bench.engine.prefix_tries) == (1, 1)
    assert [work.cached for work in works] == [0, 1_000]


def test_without_contention_every_request_runs_as_if_it_were_alone() -> None:
    bench = Bench(structs.replace(SPEC, contention=False, delay=0.5))
    ears = [bench.ask(prompt=500, out=51)[0] for _ in range(3)]
    bench.kernel.run(60.0)
    for ear in ears:
        assert ear.when("content") == pytest.approx(0.5 + PREFILL_OVERHEAD + 1.0)
        assert ear.when("complete 51") == pytest.approx(ear.when("content") + 1.0)


def test_a_slower_machine_takes_longer_from_that_moment_on() -> None:
    bench = Bench()
    ear, _ = bench.ask(prompt=0, out=101)
    bench.kernel.run(PREFILL_OVERHEAD + 1.0)
    bench.engine.set_speed(0.5)
    bench.kernel.run(100.0)
    assert ear.when("complete 101") == pytest.approx(PREFILL_OVERHEAD + 1.0 + 50 / 25)


def test_a_model_that_nobody_used_for_an_hour_is_unloaded() -> None:
    bench = Bench()
    bench.ask(prompt=0, out=26)
    bench.kernel.run(3_599.0)
    bench.engine.unload_idle()
    assert set(bench.engine.slots) == {"m"}
    bench.kernel.run(3_700.0)
    bench.engine.unload_idle()
    assert bench.engine.slots == {}
    assert bench.engine.unused_loads == 0


def test_a_load_that_nobody_used_is_counted_when_the_model_goes() -> None:
    bench = Bench()
    bench.engine.load("n")
    bench.engine.load("o")
    bench.kernel.run(100.0)
    bench.ask(model="o")
    bench.kernel.run(4_000.0)
    assert bench.engine.unused_loads == 0
    bench.engine.unload_idle()
    assert bench.engine.slots == {}
    assert bench.engine.unused_loads == 1


def test_an_owner_may_keep_models_for_ever() -> None:
    bench = Bench(structs.replace(SPEC, idle_timeout=0.0))
    bench.kernel.run(1e6)
    bench.engine.unload_idle()
    assert set(bench.engine.slots) == {"m"}
