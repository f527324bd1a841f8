"""Which header yields which token."""

from __future__ import annotations

import pytest

from server.api.auth import MAX_TOKEN_CHARACTERS, token_of


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({"Authorization": "Bearer k"}, "k"),
        ({"Authorization": "bearer   k  "}, "k"),
        ({"Authorization": "BEARER k", "x-api-key": "other"}, "k"),
        ({"x-api-key": " k "}, "k"),
        ({"Authorization": "Basic abc", "x-api-key": "k"}, "k"),
        ({"Authorization": "Bearer", "x-api-key": "k"}, "k"),
        ({"Authorization": "Bearer Bearer k"}, "Bearer k"),
        ({"Authorization": "Bearer"}, None),
        ({"Authorization": "Bearer  "}, None),
        ({"Authorization": "Basic abc"}, None),
        ({"Authorization": "k"}, None),
        ({"Authorization": "Bearer " + "k" * (MAX_TOKEN_CHARACTERS + 1)}, None),
        ({}, None),
    ],
)
def test_token_of(headers: dict[str, str], token: str | None) -> None:
    assert token_of(headers) == token
