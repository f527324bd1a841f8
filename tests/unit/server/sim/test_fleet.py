"""Fleets: files with several ticks, and machines drawn from the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from server.sim.errors import SimulationError
from server.sim.fleet import MachineSpec, checked_fleet, equal_fleet, mixed_fleet, read_fleet, write_fleet
from server.sim.seeds import stream

if TYPE_CHECKING:
    from pathlib import Path

LINE = (
    '{"id":"p1","chip":"M4|Max","mem":128,"bw":546,"decode":90,"prefill":1080,"models":["m"],"warm":["m"],'
    '"trust":"hardware","version":"0.6.31","slots":[]}'
)


def test_a_line_of_the_documented_form_is_read(tmp_path: Path) -> None:
    path = tmp_path / "fleet.ndjson"
    path.write_text(LINE + "\n")
    (machine,) = read_fleet(path)
    assert machine == MachineSpec(
        id="p1", chip="M4|Max", mem=128, bw=546, decode=90, prefill=1080, models=("m",), warm=("m",)
    )
    assert (machine.chip_family, machine.chip_tier) == ("M4", "Max")


def test_slots_on_lines_of_their_own_belong_to_their_machine(tmp_path: Path) -> None:
    path = tmp_path / "fleet.ndjson"
    path.write_text(
        '{"id":"p1","models":["m"],"slots":[{"model":"m","state":"running"}]}\n'
        '{"id":"p2","models":["n"]}\n'
        '{"id":"p1","slots":[{"model":"n","state":"crashed"}]}\n'
    )
    one, two = read_fleet(path)
    assert (one.models, one.warm) == (("m", "n"), ("m",))
    assert (two.models, two.warm) == (("n",), ())


def _ticks(path: Path) -> Path:
    rows = [("p1", 1000), ("p2", 3000), ("p3", 1000), ("p4", 2000)]
    path.write_text("".join(f'{{"id":"{name}","t_ms":{tick}}}\n' for name, tick in rows))
    return path


@pytest.mark.parametrize(
    ("at_ms", "names"),
    [(None, ["p2"]), (0, ["p1", "p3"]), (1400, ["p1", "p3"]), (1500, ["p1", "p3"]), (1501, ["p4"]), (9e9, ["p2"])],
)
def test_the_nearest_tick_is_used_the_earlier_of_two_and_the_latest_without_a_moment(
    tmp_path: Path, at_ms: float | None, names: list[str]
) -> None:
    assert [one.id for one in read_fleet(_ticks(tmp_path / "fleet"), at_ms=at_ms)] == names


def test_bad_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "fleet"
    path.write_text(LINE + '\n{"id":"p2","decode":-1}\n')
    with pytest.raises(SimulationError, match=r"fleet has bad lines \(line 2"):
        read_fleet(path)


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "fleet"
    path.write_text("")
    with pytest.raises(SimulationError, match="names no machine"):
        read_fleet(path)


def test_ids_are_unique() -> None:
    with pytest.raises(SimulationError, match="'p' is in the fleet twice"):
        checked_fleet([MachineSpec(id="p"), MachineSpec(id="p")])


def test_a_fleet_that_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "fleet"
    machines = mixed_fleet(20, stream(1, "fleet"), models=("m", "n"), warm=("n",))
    write_fleet(path, machines)
    assert read_fleet(path) == machines


def test_the_same_seed_draws_the_same_fleet_and_another_one_does_not() -> None:
    drawn = [mixed_fleet(20, stream(seed, "fleet"), models=("m",)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_equal_machines_differ_in_nothing_but_their_ids() -> None:
    one, two = equal_fleet(2, models=("m",), decode=33.0)
    assert (one.decode, two.decode) == (33.0, 33.0)
    assert one.id != two.id
