"""Keys from the settings: found by hash, one account each."""

from __future__ import annotations

from protocol.settings import Secret
from server.accounts import AuthRefusal, Identity, SettingsKeys


async def test_a_listed_key_is_an_account_of_its_own() -> None:
    keys = SettingsKeys([Secret("sk-db-one"), Secret("sk-db-two")])
    first, second = await keys.authenticate("sk-db-one"), await keys.authenticate("sk-db-two")
    assert isinstance(first, Identity)
    assert isinstance(second, Identity)
    assert first.account_id != second.account_id
    assert first == await keys.authenticate("sk-db-one")
    assert "sk-db" not in first.account_id + first.key_id


async def test_anything_else_is_refused() -> None:
    keys = SettingsKeys([Secret("sk-db-one")])
    for token in ("sk-db-on", "sk-db-one ", "", "é" * 10, "\ud800", "' OR 1=1 --"):
        assert await keys.authenticate(token) == AuthRefusal("invalid_api_key")


def test_repr_shows_no_key() -> None:
    keys = SettingsKeys([Secret("sk-db-one")])
    assert repr(keys) == "<SettingsKeys 1 keys>"


def test_a_key_may_be_limited_to_models() -> None:
    assert Identity(account_id="a", key_id="k").may_use("any")
    limited = Identity(account_id="a", key_id="k", allowed_models=frozenset({"m"}))
    assert limited.may_use("m")
    assert not limited.may_use("n")
