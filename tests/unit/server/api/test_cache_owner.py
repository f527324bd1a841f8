"""Whose computed prompts may meet: an account's, and behind a partner's key those of one end user."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protocol.api import parse_chat_request
from server.accounts import Identity
from server.api.cache_owner import NAME_BYTES_MAX, CacheOwner, cache_owner

SECRET = b"s" * 32
ADA = {"user": "ada"}


def owner(*, role: Any = "service", account: str = "market", secret: bytes = SECRET, **members: Any) -> CacheOwner:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **members}
    chat = parse_chat_request(json.dumps(body).encode())
    return cache_owner(secret, Identity(account_id=account, key_id="k", role=role), chat)


@pytest.mark.parametrize("members", [{}, ADA, {"safety_identifier": "ada"}])
def test_an_ordinary_account_is_one_customer_whatever_it_names(members: dict[str, Any]) -> None:
    assert owner(role="", **members) == ("market", True)


def test_end_users_of_a_partner_are_customers_of_their_own() -> None:
    found = [owner(**ADA), owner(user="bob"), owner(account="bazaar", **ADA), owner(secret=b"t" * 32, **ADA), owner()]
    assert len({one.name for one in found}) == len(found)
    assert [one.is_one for one in found] == [True] * 4 + [False]
    assert owner(**ADA) == owner(**ADA)
    assert all(one.name == "market" or one.name.startswith("market\0") for one in found if "bazaar" not in one.name)


def test_the_identifier_comes_before_the_user() -> None:
    assert owner(safety_identifier="ada", user="bob") == owner(**ADA) != owner(user="bob")


@pytest.mark.parametrize("name", ["", None, 7, ["ada"], {"name": "ada"}, "x" * NAME_BYTES_MAX])
def test_what_is_no_name_makes_no_customer(name: Any) -> None:
    assert owner(user=name) == owner() == ("market", False)
    assert owner(safety_identifier=name, user="ada") == owner(**ADA)


def test_the_longest_name_is_one_and_no_name_is_shown() -> None:
    longest = "x" * (NAME_BYTES_MAX - 2)
    found = owner(user=longest)
    assert found.is_one
    assert longest[:8] not in found.name


def test_a_name_means_the_same_in_every_spelling() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"user":"\\u0061da"}'
    identity = Identity(account_id="market", key_id="k", role="service")
    assert cache_owner(SECRET, identity, parse_chat_request(body)) == owner(**ADA)
