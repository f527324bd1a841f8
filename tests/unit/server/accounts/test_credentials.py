"""Secrets, their hashes and labels: the published vectors, and comparison of listed ones."""

from __future__ import annotations

import hashlib

from protocol.settings import Secret
from server.accounts.credentials import (
    KEY_ID,
    ListedSecrets,
    hash_of,
    label_of,
    legacy_account_id,
    new_api_key,
    new_key_id,
    new_opaque,
    new_provider_token,
)


def test_vector_of_an_api_key() -> None:
    key = "sk-db-" + "0123456789abcdef" * 4
    assert hash_of(key) == "7bdd3b0e4b61ab2eb2778fee69cc2004302f6490de9de85bdedf6aabddedd10a"
    assert label_of(key) == "sk-db-0123...cdef"


def test_vector_of_a_key_without_owner() -> None:
    digest = hash_of("eigeninference-" + "00" * 32)
    assert legacy_account_id(digest) == "legacy:42685f0e1f66426771b1583bd7237b7b9cb66e59f414da12c7b75c84a3e84530"


def test_vector_of_a_provider_token() -> None:
    token = "eigeninference-pt-" + "ab" * 32
    assert hash_of(token) == "acd892073b4d9c2b4b1f9e3406f79dce4445aba531e8c64697b490789f355d3e"


def test_shapes_of_what_is_made() -> None:
    key, token, opaque = new_api_key(), new_provider_token(), new_opaque()
    assert (len(key), key[:6]) == (70, "sk-db-")
    assert (len(token), token[:18]) == (82, "eigeninference-pt-")
    assert len(opaque) == 64
    assert KEY_ID.fullmatch(new_key_id())
    assert len({new_api_key() for _ in range(100)}) == 100


def test_any_text_has_a_hash() -> None:
    assert hash_of("\ud800") != hash_of("")
    assert hash_of("") == hashlib.sha256(b"").hexdigest()


def test_listed_secrets_are_found_whole_and_never_shown() -> None:
    listed = ListedSecrets([Secret("a" * 32), None, Secret("b" * 32)])
    assert len(listed) == 2
    assert "a" * 32 in listed
    assert "b" * 32 in listed
    for wrong in ("a" * 31, "a" * 33, "A" * 32, "", "\ud800"):
        assert wrong not in listed
    assert repr(listed) == "<ListedSecrets 2>"
    assert "x" not in ListedSecrets([])
