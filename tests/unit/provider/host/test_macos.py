"""Recorded outputs of a Mac's tools."""

import json
import struct

import pytest

from provider.host.macos import MacHost, parse_displays, parse_sysctl, pressure_of, run_tool

SYSCTL = """hw.model: Mac15,8
hw.memsize: 68719476736
hw.ncpu: 16
hw.perflevel0.logicalcpu: 12
hw.perflevel1.logicalcpu: 4
machdep.cpu.brand_string: Apple M3 Max
"""
DISPLAYS = json.dumps(
    {"SPDisplaysDataType": [{"_name": "Apple M3 Max", "sppci_model": "Apple M3 Max", "sppci_cores": "40"}]}
)


def host(sysctl=SYSCTL, displays=DISPLAYS):
    return MacHost(lambda command: sysctl if "sysctl" in command[0] else displays)


def test_hardware_is_read():
    hardware = host().hardware()
    assert (hardware.machine_model, hardware.chip_name) == ("Mac15,8", "Apple M3 Max")
    assert (hardware.chip_family, hardware.chip_tier) == ("M3", "Max")
    assert (hardware.memory_gb, hardware.memory_available_gb) == (64, 60.0)
    assert (hardware.cpu_cores.total, hardware.cpu_cores.performance, hardware.cpu_cores.efficiency) == (16, 12, 4)
    assert (hardware.gpu_cores, hardware.memory_bandwidth_gbs) == (40, 400)


def test_the_brand_string_stands_in_for_the_displays():
    hardware = host(displays="").hardware()
    assert (hardware.chip_name, hardware.gpu_cores, hardware.memory_bandwidth_gbs) == ("Apple M3 Max", 0, 300)


def test_nothing_is_unknown():
    hardware = host("", "").hardware()
    assert (hardware.machine_model, hardware.chip_name, hardware.memory_gb) == ("Unknown", "Unknown", 0)


@pytest.mark.parametrize("output", ["", "[]", "{}", '{"SPDisplaysDataType": 5}', '{"SPDisplaysDataType": [5, {}]}'])
def test_odd_displays_give_nothing(output):
    assert parse_displays(output) == ("", 0)


def test_sysctl_lines():
    assert parse_sysctl("a: 1\nb:\nnothing\nc: x: y\n") == {"a": "1", "c": "x: y"}


def test_memory_pressure():
    counters = bytearray(152)
    struct.pack_into("=4I", counters, 0, 100, 300, 200, 150)
    struct.pack_into("=I", counters, 92, 40)
    struct.pack_into("=I", counters, 128, 50)
    assert pressure_of(bytes(counters)) == 500 / 800


def test_a_missing_tool_says_nothing():
    assert run_tool(["/nonexistent/tool"]) == ""
    assert run_tool(["/bin/sh", "-c", "echo no; exit 3"]) == ""
    assert run_tool(["/bin/sh", "-c", "echo yes"]) == "yes\n"
