"""One look of the macOS watchdog at a service that is down, with launchd's tools played."""

import pytest

import provider.service.life
import provider.service.manager
from provider.cli.root import run
from provider.service.launchd import LABEL, Launchd
from provider.service.manager import ToolResult
from provider.service.spec import ServiceRecord, write_record
from provider.update.state import UpdateState, write_update_state


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """What launchd was asked; it knows the job."""
    monkeypatch.setenv("DARKBLOOM_HOME", str(tmp_path))
    seen = []

    def tool(command):
        seen.append(" ".join(command))
        return ToolResult(0, "one boot")

    monkeypatch.setattr(provider.service.manager, "run_tool", tool)
    monkeypatch.setattr(
        provider.service.life, "manager_of", lambda _kind, _config: Launchd(tmp_path, run=tool, uid=501)
    )
    record = ServiceRecord(kind="launchd", program=("darkbloom",), arguments=("start",), environment={})
    write_record(tmp_path / "service.json", record)
    return seen


KICKSTART = f"launchctl kickstart gui/501/{LABEL}"


def test_a_service_that_just_went_down_is_left_alone(asked):
    assert run(["watchdog"]) == 0
    assert KICKSTART not in asked


@pytest.mark.parametrize("updates_itself", [True, False])
def test_one_that_ended_for_a_new_version_is_started_at_once(asked, tmp_path, monkeypatch, updates_itself):
    """Not so where updates are installed by hand: nothing counts the starts of their versions there."""
    monkeypatch.setenv("DARKBLOOM_AUTO_UPDATE", str(updates_itself).lower())
    write_update_state(tmp_path / "update-state.json", UpdateState().began("0.2.0", "0.1.0"))
    assert run(["watchdog"]) == 0
    assert (KICKSTART in asked) is updates_itself


def test_a_version_that_started_and_crashed_waits_like_any_other(asked, tmp_path):
    write_update_state(tmp_path / "update-state.json", UpdateState().began("0.2.0", "0.1.0").started("0.2.0"))
    assert run(["watchdog"]) == 0
    assert KICKSTART not in asked
