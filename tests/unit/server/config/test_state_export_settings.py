"""Settings of the state export: what stops the start."""

from __future__ import annotations

import pytest

from protocol.settings import SettingsError
from server.config import load_settings
from tests.testbed.age_reader import new_identity


def problems(**values: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings({f"DARKBLOOM_{name}": value for name, value in values.items()})
    return "\n".join(caught.value.problems)


def test_an_export_needs_a_directory() -> None:
    assert "needs DARKBLOOM_STATE_EXPORT_ROOT" in problems(STATE_EXPORT_ENABLED="true")


@pytest.mark.parametrize("recipient", ["age1short", "ssh-ed25519 AAAA", "AGE-SECRET-KEY-1QQQQ", "age1" + "b" * 58])
def test_a_recipient_that_is_none_is_refused(recipient: str) -> None:
    found = problems(STATE_EXPORT_RECIPIENT=recipient)
    assert "DARKBLOOM_STATE_EXPORT_RECIPIENT is no age recipient" in found
    assert recipient not in found


def test_a_whole_configuration_is_read() -> None:
    recipient = new_identity()[1]
    values = {"ENABLED": "true", "ROOT": "/data", "RECIPIENT": recipient, "DATABASES": "a.db,b/c.db"}
    settings = load_settings({f"DARKBLOOM_STATE_EXPORT_{name}": value for name, value in values.items()}).settings
    assert (settings.state_export_recipient, settings.state_export_databases) == (recipient, ("a.db", "b/c.db"))
    assert not load_settings({}).settings.state_export_enabled
