"""Verification of identity tokens: the published vector, and everything that must be refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server.accounts.privy_tokens import PinnedKey, PrivyTokens, TokenRefused, load_public_key
from tests.unit.server.accounts.people import APP, START, Signer, Times

PEM = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAESinbsh9wH+OGo/QsXIHQWIS2se5x
RUTNKL41MpKC6ldjrM7ixO0keooJsM6fSNlU6xypxDrK+48ZC/TlhWkSNw==
-----END PUBLIC KEY-----"""
TOKEN = (
    "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6InQxIn0."
    "eyJzaWQiOiJzMSIsImlzcyI6InByaXZ5LmlvIiwiaWF0IjoxNzgwMDAwMDAwLCJhdWQiOiJhcHBfdGVzdCIsInN1YiI6ImRpZDpwcml2eTphYmMx"
    "MjMiLCJleHAiOjQxMDI0NDQ4MDB9."
    "NWTTa9ob9JITBHZD7vpBLlvA_XtjSvC4VKRpEC9hHVZ22u6IZ8VpcI9TbYPA4dZ19Isc7ePFW7fNPQgZsPrW6A"
)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def tokens_of(signer: Signer, times: Times | None = None, app: str = APP) -> PrivyTokens:
    return PrivyTokens(app, PinnedKey(signer.pem), now=(times or Times()).unix)


def vector(app: str = APP) -> PrivyTokens:
    return PrivyTokens(app, PinnedKey(PEM), now=Times().unix)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def refused(tokens: PrivyTokens, token: str) -> str:
    with pytest.raises(TokenRefused) as caught:
        await tokens.verify(token)
    assert token not in str(caught.value)
    assert len(tokens) == 0
    return str(caught.value)


async def test_the_vector_is_accepted() -> None:
    session = await vector().verify(TOKEN)
    assert session.did == "did:privy:abc123"
    assert session.expires_at == 4_102_444_800


@pytest.mark.parametrize("pem", [PEM.replace("\n", "\\n"), PEM + "\n", "\n" + PEM])
async def test_line_ends_of_the_key_may_be_written_out(pem: str) -> None:
    tokens = PrivyTokens(APP, PinnedKey(pem), now=Times().unix)
    assert (await tokens.verify(TOKEN)).did == "did:privy:abc123"


async def test_every_other_last_character_is_refused() -> None:
    # The last of 86 characters carries four bits of the signature: only those with other bits are tried.
    kept = base64.urlsafe_b64decode(TOKEN.rpartition(".")[2] + "==")
    for character in ALPHABET:
        changed = TOKEN[:-1] + character
        if base64.urlsafe_b64decode(changed.rpartition(".")[2] + "==") != kept:
            await refused(vector(), changed)


async def test_another_app_is_refused() -> None:
    await refused(vector("other"), TOKEN)


async def test_alg_none_is_refused() -> None:
    payload = TOKEN.split(".")[1]
    await refused(vector(), f"{part({'alg': 'none'})}.{payload}.")
    await refused(vector(), f"{part({'alg': 'None', 'typ': 'JWT'})}.{payload}.")


async def test_hs256_with_the_public_key_as_secret_is_refused() -> None:
    import hashlib
    import hmac

    signed = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{TOKEN.split('.')[1]}"
    for secret in (PEM, PEM + "\n"):
        mac = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
        await refused(vector(), f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}")


@pytest.mark.parametrize("claim", ["exp", "iss", "aud", "sub"])
async def test_a_missing_claim_is_refused(claim: str) -> None:
    signer = Signer()
    await refused(tokens_of(signer), signer.token(without=claim))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": START - 60},
        {"exp": START - 10},
        {"exp": "tomorrow"},
        {"exp": True},
        {"nbf": START + 11},
        {"nbf": "later"},
        {"iss": "privy.io.evil"},
        {"iss": "https://privy.io"},
        {"aud": "app_test2"},
        {"aud": []},
        {"aud": ["other"]},
        {"sub": ""},
        {"sub": "did:privy:a\x00b"},
        {"sub": "x" * 300},
    ],
)
async def test_a_wrong_claim_is_refused(changes: dict[str, Any]) -> None:
    signer = Signer()
    await refused(tokens_of(signer), signer.token(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": START - 9},
        {"nbf": START + 10},
        {"nbf": START - 5},
        {"aud": ["other", APP]},
        {"iat": START + 3600},
        {"sub": "local:ada"},
    ],
)
async def test_a_right_claim_is_accepted(changes: dict[str, Any]) -> None:
    signer = Signer()
    assert await tokens_of(signer).verify(signer.token(**changes))


async def test_a_der_signature_is_refused() -> None:
    signer = Signer()
    head, payload, _ = signer.token().split(".")
    from cryptography.hazmat.primitives.hashes import SHA256

    der = signer.key.sign(f"{head}.{payload}".encode(), ec.ECDSA(SHA256()))
    await refused(tokens_of(signer), f"{head}.{payload}.{base64.urlsafe_b64encode(der).rstrip(b'=').decode()}")


async def test_another_signer_is_refused() -> None:
    await refused(tokens_of(Signer()), Signer().token())


@pytest.mark.parametrize("token", ["", "eyJ", "eyJ.eyJ", "eyJ.eyJ.eyJ", "é" * 20, "eyJ" + "a" * 5000, "....", "\ud800"])
async def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(TokenRefused):
        await vector().verify(token)


async def test_verified_tokens_are_remembered_for_five_minutes() -> None:
    signer, times = Signer(), Times()
    tokens = tokens_of(signer, times)
    token = signer.token()
    session = await tokens.verify(token)
    times.go(299)
    assert tokens.recall(token) is session
    times.go(2)
    assert tokens.recall(token) is None


async def test_a_remembered_token_still_expires() -> None:
    signer, times = Signer(), Times()
    tokens = tokens_of(signer, times)
    token = signer.token(exp=START + 30)
    await tokens.verify(token)
    times.go(30)
    assert tokens.recall(token) is None
    times.go(10)
    await refused(tokens, token)


async def test_the_memory_is_bounded() -> None:
    signer = Signer()
    tokens = PrivyTokens(APP, PinnedKey(signer.pem), now=Times().unix, max_memo=3)
    for number in range(6):
        await tokens.verify(signer.token(sid=f"s{number}"))
    assert len(tokens) == 3


def test_only_p256_keys_in_pem_are_taken() -> None:
    others = [ec.generate_private_key(ec.SECP384R1()).public_key(), rsa.generate_private_key(65537, 2048).public_key()]
    for key in others:
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        with pytest.raises(ValueError, match="P-256"):
            load_public_key(pem)
    for text in ("", "not a key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"):
        with pytest.raises(ValueError, match="PEM"):
            load_public_key(text)


async def test_no_token_appears_in_the_representation_of_anything() -> None:
    signer = Signer()
    tokens = tokens_of(signer)
    token = signer.token()
    session = await tokens.verify(token)
    assert token not in repr(tokens) + repr(session)
    assert jwt.get_unverified_header(token)["alg"] == "ES256"
