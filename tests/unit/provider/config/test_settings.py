"""Settings of the provider."""

from pathlib import Path

import pytest

from protocol.settings import SettingsError, reference_table
from provider.config import ProviderSettings, load_settings
from provider.memory.policy import GIB


def test_defaults():
    settings = load_settings({}).settings
    assert settings.backend_name == "mlx-python"
    assert (settings.heartbeat_interval, settings.link_ping, settings.link_pong_timeout) == (5, 10, 30)
    assert (settings.max_concurrent, settings.max_model_slots, settings.drain_timeout) == (8, 3, 600)
    assert settings.state_directory == Path.home() / ".darkbloom"
    policy = settings.memory_policy()
    assert (policy.cap_fraction, policy.operator_reserve, policy.activation_reserve) == (0.9, None, None)


def test_values_are_read():
    settings = load_settings(
        {
            "DARKBLOOM_COORDINATOR_URL": "wss://example.org",
            "DARKBLOOM_HOME": "/srv/provider",
            "DARKBLOOM_MEMORY_RESERVE_GB": "0.5",
            "DARKBLOOM_ACTIVATION_RESERVE_GB": "4",
            "DARKBLOOM_HEARTBEAT_INTERVAL": "2s",
            "DARKBLOOM_DEV": "1",
        }
    ).settings
    assert settings.coordinator_url == "wss://example.org"
    assert settings.state_directory == Path("/srv/provider")
    assert settings.memory_policy().operator_reserve == GIB // 2
    assert settings.memory_policy().activation_reserve == 4 * GIB
    assert settings.heartbeat_interval == 2
    assert settings.dev


def test_overrides_win_over_the_environment():
    loaded = load_settings({"DARKBLOOM_HOME": "/a"}, overrides={"DARKBLOOM_HOME": "/b"})
    assert loaded.settings.home == Path("/b")
    assert loaded.sources["DARKBLOOM_HOME"] == "command line"


def test_all_problems_come_at_once():
    with pytest.raises(SettingsError) as refused:
        load_settings(
            {
                "DARKBLOOM_MAX_CONCURRENT": "25",
                "DARKBLOOM_COORDINATOR_URL": "example.org",
                "DARKBLOOM_LINK_PING": "40s",
            }
        )
    assert len(refused.value.problems) == 3


def test_an_unknown_name_is_a_warning_with_a_hint():
    assert load_settings({"DARKBLOOM_MAX_CONCURENT": "4", "DARKBLOOM_NATIVE": "0"}).warnings == (
        "unknown setting DARKBLOOM_MAX_CONCURENT (did you mean DARKBLOOM_MAX_CONCURRENT?)",
    )


def test_the_reference_does_not_name_the_home_of_whoever_made_it():
    assert str(Path.home()) not in reference_table(ProviderSettings)
