"""Who may draw a base reward, and how much memory is believed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from server.rewards.fleet import entitled_machines
from server.rewards.hardware import MOST_MEMORY_GB, believed_memory_gb
from tests.unit.server.rewards.conftest import STUDIO


def test_a_sound_machine_may_draw() -> None:
    (machine,) = entitled_machines([STUDIO]).values()
    assert (machine.provider_key, machine.account_id, machine.memory_gb, machine.tier) == (
        "studio",
        "ann",
        64,
        18_000_000,
    )


@pytest.mark.parametrize(
    "change",
    [
        {"is_public": False},
        {"has_model": False},
        {"memory_pressure": 0.8},
        {"memory_pressure": math.nan},
        {"thermal": "critical"},
        {"provider_key": ""},
        {"machine_model": "Mac99,9"},
        {"machine_model": ""},
        {"account_id": ""},
        {"account_id": "sys:unclaimed"},
        {"memory_gb": 23},
        {"memory_gb": -1},
        {"machine_model": "MacBookAir10,1"},
    ],
    ids=str,
)
def test_one_fault_is_enough(change: dict[str, Any]) -> None:
    assert entitled_machines([replace(STUDIO, **change)]) == {}


def test_hot_and_pressed_machines_within_bounds_may_draw() -> None:
    assert entitled_machines([replace(STUDIO, thermal="serious", memory_pressure=0.79)])


def test_the_latest_session_of_a_machine_decides() -> None:
    earlier, later = replace(STUDIO, order=1), replace(STUDIO, order=2, account_id="bob")
    for machines in ([earlier, later], [later, earlier]):
        assert entitled_machines(machines)["studio"].account_id == "bob"
    assert entitled_machines([replace(later, account_id=""), earlier]) == {}


def test_whoever_shows_the_key_of_another_machine_takes_nothing_from_it() -> None:
    studio = replace(STUDIO, order=1, provider_id="studio")
    untrusted = replace(STUDIO, order=2, account_id="eve", is_public=False, provider_id="")
    trusted = replace(STUDIO, order=3, account_id="eve", provider_id="other")
    for machines in ([studio, untrusted], [studio, trusted], [trusted, untrusted, studio]):
        assert entitled_machines(machines)["studio"].account_id == "ann"
    assert entitled_machines([untrusted]) == {}


def test_memory_is_believed_up_to_what_the_model_was_sold_with() -> None:
    assert believed_memory_gb("Mac13,1", 32) == 32
    assert believed_memory_gb("Mac13,1", 512) == 64
    assert believed_memory_gb(" Mac15,14 ", 512) == 512
    assert believed_memory_gb("Linux", 512) is None
    assert all(most in {16, 24, 32, 36, 48, 64, 96, 128, 192, 512} for most in MOST_MEMORY_GB.values())
