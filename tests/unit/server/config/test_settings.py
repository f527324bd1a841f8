"""The coordinator's settings: defaults, cross rules, secrets, and the generated reference page."""

from __future__ import annotations

from pathlib import Path

import pytest

import provider.config.settings as provider_settings
from protocol.settings import SettingsError, effective_values, names_of
from provider.config.settings import ProviderSettings
from server.config import CoordinatorSettings, load_settings, settings_page

PAGE = Path(__file__).parents[4] / "docs" / "reference" / "settings.md"


def test_defaults_load_without_any_variable() -> None:
    loaded = load_settings({})
    assert loaded.settings == CoordinatorSettings()
    assert loaded.warnings == ()
    assert (loaded.settings.port, loaded.settings.max_body_bytes) == (8080, 16 * 1024 * 1024)
    assert loaded.settings.challenge_max_age == 960
    assert loaded.settings.min_trust == "hardware"


def test_misspelt_value_names_setting_value_and_choices() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"DARKBLOOM_MIN_TRUST": "hardwear"})
    (problem,) = caught.value.problems
    for part in ("DARKBLOOM_MIN_TRUST", "hardwear", "none, self_signed, hardware"):
        assert part in problem


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"DARKBLOOM_PORT": "x", "DARKBLOOM_DRAIN_GRACE": "10", "DARKBLOOM_TLS_CERT": "/c.pem"})
    assert len(caught.value.problems) == 3


def test_production_refuses_development_attestation() -> None:
    values = {"DARKBLOOM_ENV": "production", "DARKBLOOM_API_KEYS": "sk-db-a", "DARKBLOOM_ALLOW_DEV_ATTESTATION": "1"}
    with pytest.raises(SettingsError, match="DARKBLOOM_ALLOW_DEV_ATTESTATION"):
        load_settings(values)
    del values["DARKBLOOM_ALLOW_DEV_ATTESTATION"]
    assert load_settings(values).settings.env == "production"


@pytest.mark.parametrize(
    "values",
    [
        {"DARKBLOOM_ENV": "production", "DARKBLOOM_ALLOW_MEMORY_STORE": "true"},
        {"DARKBLOOM_TLS_KEY": "/k.pem"},
        {"DARKBLOOM_WS_PING": "40s"},
        {"DARKBLOOM_CHALLENGE_MAX_AGE": "5m"},
        {"DARKBLOOM_WRITER_MAX": "1s"},
    ],
)
def test_rules_across_settings(values: dict[str, str]) -> None:
    with pytest.raises(SettingsError):
        load_settings(values)


def test_misspelt_name_draws_a_warning_with_the_nearest_name() -> None:
    warnings = load_settings({"DARKBLOOM_PROT": "1", "DARKBLOOM_NATIVE": "0"}).warnings
    assert warnings == ("unknown setting DARKBLOOM_PROT (did you mean DARKBLOOM_PORT?)",)


def test_secrets_are_hidden_and_may_come_from_files(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("top-secret\n")
    values = {"DARKBLOOM_METRICS_TOKEN_FILE": str(file), "DARKBLOOM_API_KEYS": "sk-db-one, sk-db-two"}
    loaded = load_settings(values)
    assert loaded.settings.metrics_token is not None
    assert loaded.settings.metrics_token.reveal() == "top-secret"
    assert [key.reveal() for key in loaded.settings.api_keys] == ["sk-db-one", "sk-db-two"]
    shown = repr(loaded.settings) + repr(effective_values(loaded))
    assert "top-secret" not in shown
    assert "sk-db" not in shown


def test_reference_page_is_up_to_date() -> None:
    assert PAGE.read_text() == settings_page(), (
        "write it anew: python -c 'from server.config import settings_page as p; print(p(), end=\"\")' "
        "> docs/reference/settings.md"
    )


def test_reference_page_names_every_setting() -> None:
    page = settings_page()
    for name in names_of(CoordinatorSettings):
        assert name.removesuffix("_FILE") in page


def test_settings_of_the_provider_draw_no_warning() -> None:
    names = names_of(ProviderSettings) | provider_settings.KNOWN_ELSEWHERE
    assert load_settings(dict.fromkeys(names, "")).warnings == ()


def test_releases_are_downloaded_over_https() -> None:
    for good in ("https://cdn.example/d", "http://127.0.0.1:8000", "http://[::1]:8000/d", "http://localhost"):
        assert load_settings({"DARKBLOOM_RELEASE_CDN_URL": good}).settings.release_cdn_url == good
    for wrong in ("http://cdn.example", "https://user:secret@cdn.example", "https://cdn.example/?x=1", "https://a/#b"):
        with pytest.raises(SettingsError) as refused:
            load_settings({"DARKBLOOM_RELEASE_CDN_URL": wrong})
        (problem,) = refused.value.problems
        assert "DARKBLOOM_RELEASE_CDN_URL must" in problem
        assert "secret" not in problem
