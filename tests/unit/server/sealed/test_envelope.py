"""Envelopes open exactly when they should, and every fault has its own error."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.api.errors import ApiError
from server.sealed import KeyRing, key_from_mnemonic
from server.sealed.envelope import open_envelope
from tests.testbed.sealed_client import KID, MNEMONIC, SealedAsker

RING = KeyRing(key_from_mnemonic(MNEMONIC))
WINNER = "legal winner thank year wave sausage worth useful legal winner thank yellow"
PLAIN = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'


def refused(body: bytes | dict[str, Any], ring: KeyRing = RING) -> str:
    """The code of the refusal; its text must not repeat the body."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(ApiError) as caught:
        open_envelope(data, ring)
    assert caught.value.status == 400
    for secret in ("secret-member", "hidden", "messages"):
        assert secret not in caught.value.message
    return caught.value.code


@pytest.mark.parametrize(
    ("private", "nonce", "ciphertext"),
    [
        (
            bytes(range(0x01, 0x21)),
            bytes(range(0x18)),
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXI0dM8e5e+FzPYEuatuIYHFq0kgOaYdizoQszNy0YD0FNREJb2nuv1UwYzWL8+N3C+ILbw3jD"
            "h4jKI8KhjmRaU3LcNEH6mGXMzw==",
        ),
        (
            bytes(range(0x70, 0x90)),
            bytes(range(0x01, 0x19)),
            "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcY47yRRUord/TfksDBPT2vzV6jis/n52J4bZ4sxZWmGgcbZazWW1e5/zN2QfaEAAI28iJGfXWl"
            "Yk0ZV5Ws/1TIARVKhxFaiMHdEw==",
        ),
    ],
)
def test_published_request_vectors(private: bytes, nonce: bytes, ciphertext: str) -> None:
    asker = SealedAsker(private=private)
    envelope = asker.envelope(PLAIN, nonce=nonce)
    assert envelope["ciphertext"] == ciphertext
    opened = open_envelope(json.dumps(envelope).encode(), RING)
    assert opened.plaintext == PLAIN
    assert opened.exchange.kid == KID
    assert opened.mark == bytes(asker.own.public_key) + nonce


@given(body=st.binary(max_size=300))
def test_whatever_is_sealed_opens_and_is_answered(body: bytes) -> None:
    asker = SealedAsker()
    opened = open_envelope(asker.sealed(body), RING)
    assert opened.plaintext == body
    assert asker.open(opened.exchange.seal(body + b"!")) == body + b"!"
    opened.exchange.close()


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_of_the_box_is_found(at: int, bit: int) -> None:
    envelope = SealedAsker().envelope(PLAIN)
    box = bytearray(b64decode(envelope["ciphertext"]))
    box[at % len(box)] ^= 1 << bit
    assert refused(envelope | {"ciphertext": b64encode(box).decode()}) == "decryption_failed"


@given(length=st.integers(0, 96))
def test_a_truncated_box_is_refused(length: int) -> None:
    envelope = SealedAsker().envelope(PLAIN)
    cut = b64encode(b64decode(envelope["ciphertext"])[:length]).decode()
    expected = "invalid_sealed_envelope" if length < 24 else "decryption_failed"
    assert refused(envelope | {"ciphertext": cut}) == expected


@given(body=st.binary(max_size=200) | st.text(max_size=80).map(str.encode))
def test_junk_is_never_an_envelope(body: bytes) -> None:
    assert refused(body) == "invalid_sealed_envelope"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"7", b'"x"', b'{"kid":7}', b'{"ciphertext":null}', b"{}"])
def test_what_is_no_envelope(body: bytes) -> None:
    assert refused(body) == "invalid_sealed_envelope"


@pytest.mark.parametrize(
    "change",
    [
        {"ephemeral_public_key": "!"},
        {"ephemeral_public_key": ""},
        {"ephemeral_public_key": b64encode(b"k" * 31).decode()},
        {"ephemeral_public_key": b64encode(b"k" * 33).decode()},
        {"ciphertext": "AAA"},
        {"ciphertext": "A" * 30 + "=="},
        {"ciphertext": b64encode(b"n" * 23).decode()},
        {"secret-member": "hidden"},
        {"model": "m"},
        {"messages": [{"role": "user", "content": "hidden"}]},
    ],
)
def test_faults_of_form(change: dict[str, Any]) -> None:
    assert refused(SealedAsker().envelope(PLAIN) | change) == "invalid_sealed_envelope"


@pytest.mark.parametrize("kid", ["0" * 16, "x", KID.upper()])
def test_another_kid_wins_over_other_faults(kid: str) -> None:
    assert refused(SealedAsker().envelope(PLAIN) | {"kid": kid, "ciphertext": "!"}) == "kid_mismatch"


@pytest.mark.parametrize("kid", [None, ""])
def test_kid_may_be_missing(kid: str | None) -> None:
    envelope = SealedAsker().envelope(PLAIN) | {"kid": kid}
    assert open_envelope(json.dumps(envelope).encode(), RING).plaintext == PLAIN
    del envelope["kid"]
    assert open_envelope(json.dumps(envelope).encode(), RING).plaintext == PLAIN


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31)])
def test_a_key_of_low_order_opens_nothing(point: bytes) -> None:
    envelope = SealedAsker().envelope(PLAIN) | {"ephemeral_public_key": b64encode(point).decode()}
    assert refused(envelope) == "decryption_failed"


def test_the_previous_key_still_opens_and_seals_the_answer() -> None:
    old = key_from_mnemonic(MNEMONIC)
    ring = KeyRing(key_from_mnemonic(WINNER), old)
    asker = SealedAsker()
    for envelope in (asker.envelope(PLAIN), asker.envelope(PLAIN) | {"kid": None}):
        opened = open_envelope(json.dumps(envelope).encode(), ring)
        assert opened.exchange.kid == KID
        assert asker.open(opened.exchange.seal(b"yes")) == b"yes"
    assert refused(asker.envelope(PLAIN), KeyRing(ring.current)) == "kid_mismatch"
    assert refused(asker.envelope(PLAIN) | {"kid": None}, KeyRing(ring.current)) == "decryption_failed"
