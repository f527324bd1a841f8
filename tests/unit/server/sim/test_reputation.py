"""Reputation follows a machine that sleeps for longer than faults are remembered, and decides between equals."""

from __future__ import annotations

import io
from collections import Counter

from server.sim.faults import MachineEvent
from server.sim.fleet import equal_fleet
from server.sim.scenarios import MODEL
from server.sim.simulation import Policy, Setup, World
from server.sim.trace import Arrival

FAILING = ("p00000", "p00001", "p00002")
SOUND = ("p00003", "p00004", "p00005")
ASLEEP, AWAKE, END = 2_400.0, 3_200.0, 3_500.0


def sleepers(*, known: bool) -> Setup:
    """Twelve equal machines and little to do; three of them fail for forty minutes, and return sound after a sleep."""
    asleep = [*FAILING, *SOUND]
    return Setup(
        name="sleepers",
        seed=1,
        arrivals=[
            Arrival(t_ms=2_000.0 * number, model="m", prompt=100, max_tokens=64, out=40, account=f"a{number % 7}")
            for number in range(round(END / 2))
        ],
        machines=equal_fleet(12, models=("m",)),
        models=(MODEL,),
        events=[
            *(MachineEvent(at=0.0, machine=name, what="error") for name in FAILING),
            *(MachineEvent(at=ASLEEP, machine=name, what="sleep") for name in asleep),
            *(MachineEvent(at=AWAKE - 1, machine=name, what="ok") for name in asleep),
            *(MachineEvent(at=AWAKE, machine=name, what="wake") for name in asleep),
        ],
        known=known,
    )


def attempts_after_return(*, known: bool) -> Counter[str]:
    """Count the attempts at machines after their sleep; fault memory has nothing against them by then."""
    out = io.StringIO()
    setup = sleepers(known=known)
    world = World(setup, Policy(), out)
    faults = world.registry.faults
    remembered: list[int] = []
    world._kernel.at(
        setup.warm_up + AWAKE, lambda: remembered.append(sum(len(faults.events(name)) for name in FAILING))
    )
    world.run()
    assert remembered == [0]
    counts: Counter[str] = Counter()
    for line in out.getvalue().splitlines():
        when, what, *words = line.split()
        if what in ("attempt", "backup") and int(when) / 1e6 > setup.warm_up + AWAKE:
            machine = words[1].partition(".")[0]
            counts["failing" if machine in FAILING else "sound" if machine in SOUND else "others"] += 1
    return counts


def test_a_machine_that_failed_often_stands_behind_its_equals_after_a_long_sleep() -> None:
    known, strangers = attempts_after_return(known=True), attempts_after_return(known=False)
    assert strangers["failing"] >= 25
    assert known["failing"] <= 0.6 * strangers["failing"]
    assert known["sound"] >= 0.9 * strangers["sound"]
