"""Every case of the public WebSocket conformance suite that concerns a reader of frames, on both implementations."""

from __future__ import annotations

import re
from itertools import chain, pairwise
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.native.conformance_cases import (
    LIMIT_IDS,
    Case,
    closing,
    fragments,
    framing,
    limit_case,
    pings,
    reserved,
)
from tests.unit.native.conformance_text import GROUPS, texts

CASES = list(chain(framing(), pings(), reserved(), fragments(), texts(), closing()))
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "websocket-conformance.md"

# Number of cases of each section and group of the suite.
EXPECTED = {"1.1": 8, "1.2": 8, "2": 11, "3": 7, "4.1": 5, "4.2": 5, "5": 20}
EXPECTED |= {"6.1": 3, "6.2": 4, "6.3": 2, "6.4": 4, "6.5": 5, "6.6": 11, "6.7": 4, "6.8": 2, "6.9": 4, "6.10": 3}
EXPECTED |= {"6.11": 5, "6.12": 8, "6.13": 5, "6.14": 10, "6.15": 1, "6.16": 3, "6.17": 5, "6.18": 5, "6.19": 5}
EXPECTED |= {"6.20": 7, "6.21": 8, "6.22": 34, "6.23": 7}
EXPECTED |= {"7.1": 6, "7.3": 6, "7.5": 1, "7.7": 13, "7.9": 9, "7.13": 2}
EXPECTED |= {"9.1": 6, "9.2": 6, "9.3": 9, "9.4": 9, "9.5": 6, "9.6": 6, "9.7": 6, "9.8": 6, "10.1": 1}


def group_of(case_id: str) -> str:
    """`6.12.3` → `6.12`, `5.3` → `5`."""
    return case_id.rpartition(".")[0]


def check(module: ModuleType, case: Case) -> None:
    """Feed the case and compare the events."""
    pump = module.Pump(max_message_bytes=16 << 20)
    step = case.chop or len(case.data)
    bounds = [*range(0, len(case.data), step), len(case.data)]
    events = [event for start, end in pairwise(bounds) for event in pump.feed(case.data[start:end])]
    assert events == case.events


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_conformance(native_impl: ModuleType, case: Case) -> None:
    check(native_impl, case)


@pytest.mark.parametrize("case_id", LIMIT_IDS)
def test_conformance_limits(native_impl: ModuleType, case_id: str) -> None:
    check(native_impl, limit_case(case_id))


def test_cases_are_complete() -> None:
    ids = [case.id for case in CASES] + LIMIT_IDS
    assert len(set(ids)) == len(ids)
    found: dict[str, int] = {}
    for case_id in ids:
        found[group_of(case_id)] = found.get(group_of(case_id), 0) + 1
    assert found == EXPECTED


def test_text_groups_say_what_python_says() -> None:
    for cases, well_formed in GROUPS.values():
        for number, text in enumerate(cases, start=1):
            try:
                text.decode()
            except UnicodeDecodeError:
                assert number not in well_formed
            else:
                assert number in well_formed


def test_page_names_every_group_and_count() -> None:
    rows = re.findall(r"^\| (\d+(?:\.\d+)?)\.1–\S+ \| (\d+) \|", PAGE.read_text(), re.MULTILINE)
    rows += re.findall(r"^\| (\d+\.\d+)\.1 \| (\d+) \|", PAGE.read_text(), re.MULTILINE)
    assert {group: int(count) for group, count in rows} == EXPECTED
