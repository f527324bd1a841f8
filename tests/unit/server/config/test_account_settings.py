"""Settings of accounts: what stops the start, and what stays hidden."""

from __future__ import annotations

import pytest

from protocol.settings import SettingsError, effective_values
from server.accounts.privy_tokens import load_public_key
from server.config import load_settings
from server.limits import TierRates
from tests.unit.server.accounts.people import Signer

LONG = "k" * 24


def problems(**values: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings({f"DARKBLOOM_{name}": value for name, value in values.items()})
    return caught.value.problems


@pytest.mark.parametrize("name", ["ADMIN_KEYS", "RELEASE_KEY", "PUBLISHING_KEY"])
def test_privileged_keys_have_at_least_24_characters(name: str) -> None:
    (problem,) = problems(**{name: "a-short-planted-key"})
    assert f"DARKBLOOM_{name}" in problem
    assert "24 characters" in problem
    assert "planted" not in problem
    assert load_settings({f"DARKBLOOM_{name}": LONG}).settings


def test_several_admin_keys_serve_a_rotation() -> None:
    keys = load_settings({"DARKBLOOM_ADMIN_KEYS": f"{LONG}1,{LONG}2"}).settings.admin_keys
    assert [key.reveal() for key in keys] == [LONG + "1", LONG + "2"]
    (problem,) = problems(ADMIN_KEYS=f"{LONG},short")
    assert "ADMIN_KEYS" in problem


def test_an_app_id_needs_a_key() -> None:
    (problem,) = problems(PRIVY_APP_ID="app")
    assert "DARKBLOOM_PRIVY_VERIFICATION_KEY or DARKBLOOM_PRIVY_JWKS_URL" in problem
    assert load_settings({"DARKBLOOM_PRIVY_APP_ID": "app", "DARKBLOOM_PRIVY_JWKS_URL": "https://keys.example"})


def test_settings_of_privy_need_its_app_id() -> None:
    (problem,) = problems(PRIVY_APP_SECRET="planted-secret")
    assert "DARKBLOOM_PRIVY_APP_ID" in problem
    assert "planted" not in problem


def test_the_verification_key_must_be_one() -> None:
    (problem,) = problems(PRIVY_APP_ID="app", PRIVY_VERIFICATION_KEY="nonsense")
    assert problem.startswith("DARKBLOOM_PRIVY_VERIFICATION_KEY cannot be used")
    pem = Signer().pem.replace("\n", "\\n")
    loaded = load_settings({"DARKBLOOM_PRIVY_APP_ID": "app", "DARKBLOOM_PRIVY_VERIFICATION_KEY": pem})
    assert loaded.settings.privy_verification_key is not None
    assert load_public_key(loaded.settings.privy_verification_key.reveal())


def test_production_asks_privy_over_https_only() -> None:
    values = {"ENV": "production", "API_KEYS": "sk-db-a", "PRIVY_APP_ID": "app"}
    found = problems(**values, PRIVY_JWKS_URL="http://keys.example", PRIVY_API_URL="http://privy.example")
    assert sum("https" in problem for problem in found) == 2


def test_secrets_are_hidden() -> None:
    values = {
        "DARKBLOOM_ADMIN_KEYS": "planted-admin-" + LONG,
        "DARKBLOOM_RELEASE_KEY": "planted-release-" + LONG,
        "DARKBLOOM_PUBLISHING_KEY": "planted-publishing-" + LONG,
        "DARKBLOOM_PRIVY_APP_ID": "app",
        "DARKBLOOM_PRIVY_APP_SECRET": "planted-app-secret",
        "DARKBLOOM_PRIVY_JWKS_URL": "https://keys.example",
    }
    loaded = load_settings(values)
    assert "planted" not in repr(loaded.settings) + repr(effective_values(loaded))


@pytest.mark.parametrize(
    ("values", "on"),
    [
        ({}, True),
        ({"DARKBLOOM_LOCAL_AUTH": "false"}, False),
        ({"DARKBLOOM_PRIVY_APP_ID": "app", "DARKBLOOM_PRIVY_JWKS_URL": "https://k.example"}, False),
        (
            {
                "DARKBLOOM_PRIVY_APP_ID": "app",
                "DARKBLOOM_PRIVY_JWKS_URL": "https://k.example",
                "DARKBLOOM_LOCAL_AUTH": "true",
            },
            True,
        ),
    ],
)
def test_local_sign_in_is_on_where_privy_is_not(values: dict[str, str], on: bool) -> None:
    assert load_settings(values).settings.local_auth_on == on


def test_default_rates_are_the_documented_ones() -> None:
    assert TierRates.of(load_settings({}).settings) == TierRates()


def test_every_rate_can_be_set_and_zero_is_off() -> None:
    values = {
        "DARKBLOOM_RATE_LIMIT_RPS": "0",
        "DARKBLOOM_FINANCIAL_RATE_LIMIT_RPS": "0.5",
        "DARKBLOOM_FINANCIAL_RATE_LIMIT_BURST": "7",
        "DARKBLOOM_SERVICE_RATE_LIMIT_OTPM": "60",
        "DARKBLOOM_RATE_LIMIT_ITPM_BURST": "9",
        "DARKBLOOM_SERVICE_RATE_LIMIT_ESTIMATE": "true",
    }
    rates = TierRates.of(load_settings(values).settings)
    assert not rates.consumer.limited
    assert (rates.financial.per_second, rates.financial.burst) == (0.5, 7)
    assert rates.service_tokens.output.per_second == 1
    assert rates.consumer_tokens.input.burst == 9
    assert rates.service_estimate
