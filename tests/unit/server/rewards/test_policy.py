"""Rules of base rewards from settings; fractions become whole numbers."""

from __future__ import annotations

import pytest

from protocol.settings import SettingsError, effective_values
from server.config import load_settings
from server.rewards.policy import BaseRewardPolicy
from tests.unit.server.rewards.conftest import JUNE


def test_the_defaults_of_settings_and_policy_agree() -> None:
    settings = load_settings({}).settings
    assert not settings.base_rewards
    assert BaseRewardPolicy.of(settings) == BaseRewardPolicy()
    assert BaseRewardPolicy().account_cap(JUNE) is None
    assert BaseRewardPolicy().scale(JUNE).min_uptime_ms == 270_000


def test_chosen_rules() -> None:
    settings = load_settings(
        {
            "DARKBLOOM_BASE_REWARDS": "true",
            "DARKBLOOM_BASE_REWARDS_K": "0.1",
            "DARKBLOOM_BASE_REWARDS_POOL_MICRO": "25920000",
            "DARKBLOOM_BASE_REWARDS_MIN_UPTIME": "0.95",
            "DARKBLOOM_BASE_REWARDS_ACCOUNT_CAP": "0.07",
            "DARKBLOOM_BASE_REWARDS_REQUIRE_WORK": "false",
        }
    ).settings
    policy = BaseRewardPolicy.of(settings)
    assert policy == BaseRewardPolicy(
        pool=25_920_000,
        reduction_thousandths=100,
        min_uptime_ms=285_000,
        account_cap_millionths=70_000,
        require_work=False,
    )
    assert (policy.budget(JUNE), policy.account_cap(JUNE)) == (3_000, 210)


@pytest.mark.parametrize(
    ("name", "value"),
    [("MIN_UPTIME", "1"), ("ACCOUNT_CAP", "1.1"), ("POOL_MICRO", "-1"), ("K", "-0.5"), ("REQUIRE_WORK", "maybe")],
)
def test_impossible_rules_stop_the_start(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({f"DARKBLOOM_BASE_REWARDS_{name}": value})
    (problem,) = caught.value.problems
    assert f"DARKBLOOM_BASE_REWARDS_{name}" in problem


def test_the_secret_of_the_names_is_long_and_stays_hidden() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"DARKBLOOM_PSEUDONYM_SECRET": "planted-short"})
    (problem,) = caught.value.problems
    assert "24 characters" in problem
    assert "planted" not in problem
    loaded = load_settings({"DARKBLOOM_PSEUDONYM_SECRET": "planted-" + "x" * 24})
    assert "planted" not in repr(loaded.settings)
    assert not any("planted" in shown for _, shown, _ in effective_values(loaded))
