"""No test of the provider reads the configuration of the person who runs it, or starts the test process anew."""

import pytest

from provider.hardening.environment import FORBIDDEN


@pytest.fixture(autouse=True)
def _own_config_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg-config"))


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    """`start` and `serve` replace a process that has one of these variables."""
    for name in FORBIDDEN:
        monkeypatch.delenv(name, raising=False)
