"""The setting that keys the cache scopes reaches the provider's frame."""

from __future__ import annotations

import pytest

from protocol.settings import Secret
from server.api import ApiServices, build_blueprints
from tests.unit.server.serve.conftest import OpenCoordinator


async def _secrets(
    running: OpenCoordinator, monkeypatch: pytest.MonkeyPatch, setting: Secret | None, times: int
) -> list[bytes]:
    seen: list[bytes] = []

    def noting(services: ApiServices) -> object:
        seen.append(services.cache_secret)
        return build_blueprints(services)

    monkeypatch.setattr("server.serve.coordinator.build_blueprints", noting)
    for _ in range(times):
        async with running(cache_scope_secret=setting):
            pass
    return seen


async def test_a_set_secret_keys_the_scopes_of_every_run(
    running: OpenCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = await _secrets(running, monkeypatch, Secret("a-secret-of-the-operator-32-chars"), 2)
    assert seen == [b"a-secret-of-the-operator-32-chars"] * 2


async def test_without_a_secret_each_run_has_its_own(running: OpenCoordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = await _secrets(running, monkeypatch, None, 2)
    assert first != second
    assert len(first) == len(second) == 32
