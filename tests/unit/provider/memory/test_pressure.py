"""How the system's figures become a level."""

import sys

import pytest

from provider.memory.policy import GIB
from provider.memory.pressure import LinuxPressure, Pressure, mac_level, open_pressure
from tests.testbed.fake_memory import FakeSystem

CALM = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=0\n"


def linux(root, *, free=0.5, stalls=CALM):
    if stalls is not None:
        (root / "proc/pressure").mkdir(parents=True)
        (root / "proc/pressure/memory").write_text(stalls)
    return LinuxPressure(FakeSystem(100 * GIB, int(free * 100 * GIB)), root)


@pytest.mark.parametrize(
    ("free", "level"),
    [
        (0.5, Pressure.NONE),
        (0.10, Pressure.NONE),
        (0.09, Pressure.WARNING),
        (0.05, Pressure.WARNING),
        (0.049, Pressure.CRITICAL),
        (0.0, Pressure.CRITICAL),
    ],
)
def test_free_memory_decides(tmp_path, free, level):
    assert linux(tmp_path, free=free).level() is level


@pytest.mark.parametrize(("percent", "level"), [("10.00", Pressure.NONE), ("10.01", Pressure.WARNING)])
def test_stalled_tasks_are_a_warning(tmp_path, percent, level):
    assert linux(tmp_path, stalls=CALM.replace("avg10=0.00", f"avg10={percent}")).level() is level


@pytest.mark.parametrize(
    "text", [None, "", "\n", "some", "some avg10=", "some avg10=much", "some\x00", "full avg10=50"]
)
def test_unreadable_stall_figures_count_as_none(tmp_path, text):
    assert linux(tmp_path, stalls=text).level() is Pressure.NONE


def test_memory_that_cannot_be_read_is_no_pressure(tmp_path, monkeypatch):
    reader = linux(tmp_path)
    monkeypatch.setattr(FakeSystem, "available", lambda _self: int("x"))
    assert reader.level() is Pressure.NONE


@pytest.mark.parametrize(
    ("number", "level"), [(0, 0), (1, Pressure.NONE), (2, Pressure.WARNING), (4, Pressure.CRITICAL)]
)
def test_levels_of_the_mac_kernel(number, level):
    assert mac_level(number) == level


@pytest.mark.skipif(sys.platform != "linux", reason="reads this machine's own files")
def test_this_machine_has_a_level():
    from provider.memory.system import open_system_memory

    assert open_pressure(open_system_memory()).level() in tuple(Pressure)
