"""Batteries, energy saving, and keeping a Mac awake, from recorded outputs."""

import pytest

from provider.host.power import (
    MacWakefulness,
    NoWakefulness,
    PowerState,
    open_wakefulness,
    parse_pmset,
    read_linux_power,
)

ON_MAINS = """Now drawing from 'AC Power'
 -InternalBattery-0 (id=21889123)	100%; charged; 0:00 remaining present: true
"""
ON_BATTERY = """Now drawing from 'Battery Power'
 -InternalBattery-0 (id=21889123)	87%; discharging; 5:31 remaining present: true
"""
SETTINGS = """System-wide power settings:
Currently in use:
 standby              1
 lowpowermode         {}
 powernap             1
"""


@pytest.mark.parametrize(
    ("batteries", "mode", "state"),
    [
        (ON_MAINS, 0, PowerState(False, False)),
        (ON_BATTERY, 1, PowerState(True, True)),
        (ON_MAINS, 1, PowerState(False, True)),
        ("", 0, PowerState(False, False)),
    ],
)
def test_mac(batteries, mode, state):
    assert parse_pmset(batteries, SETTINGS.format(mode)) == state


def supply(root, name, **files):
    folder = root / "sys/class/power_supply" / name
    folder.mkdir(parents=True)
    for file, content in files.items():
        (folder / file).write_text(content + "\n")


def test_linux_without_supplies_is_on_mains(tmp_path):
    assert read_linux_power(tmp_path) == PowerState(False, False)


def test_linux_laptop(tmp_path):
    supply(tmp_path, "AC", type="Mains", online="0")
    supply(tmp_path, "BAT0", type="Battery", status="Discharging")
    (tmp_path / "sys/firmware/acpi").mkdir(parents=True)
    (tmp_path / "sys/firmware/acpi/platform_profile").write_text("low-power\n")
    assert read_linux_power(tmp_path) == PowerState(True, True)
    (tmp_path / "sys/class/power_supply/AC/online").write_text("1\n")
    assert read_linux_power(tmp_path) == PowerState(False, True)


class Calls:
    def __init__(self, number=5):
        self.number = number
        self.log = []

    def create(self, kind, reason):
        self.log.append(("create", kind))
        return self.number

    def release(self, assertion):
        self.log.append(("release", assertion))


def test_one_assertion_however_often_it_is_asked_for():
    calls = Calls()
    with MacWakefulness(calls) as wakefulness:
        wakefulness.hold()
        wakefulness.hold()
        wakefulness.release()
        wakefulness.release()
        wakefulness.hold()
    assert calls.log == [
        ("create", "PreventUserIdleSystemSleep"),
        ("release", 5),
        ("create", "PreventUserIdleSystemSleep"),
        ("release", 5),
    ]


def test_refused_assertion_is_not_released():
    calls = Calls(number=None)
    wakefulness = MacWakefulness(calls)
    wakefulness.hold()
    wakefulness.release()
    assert [name for name, _ in calls.log] == ["create"]


def test_linux_needs_none():
    wakefulness = open_wakefulness()
    assert isinstance(wakefulness, NoWakefulness)
    wakefulness.hold()
    wakefulness.release()
