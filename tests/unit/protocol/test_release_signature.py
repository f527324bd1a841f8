"""Signatures over releases: one of the keys, over this very hash, or none at all."""

from __future__ import annotations

import base64

import pytest
from nacl.signing import SigningKey

from protocol.release_signature import is_signed, parse_signing_key, signing_keys

HASH = "ab" * 32


def signature_of(key: SigningKey, text: str = HASH) -> str:
    return base64.b64encode(key.sign(text.encode()).signature).decode()


def test_one_of_the_keys_is_enough() -> None:
    first, second = SigningKey.generate(), SigningKey.generate()
    keys = [key.verify_key.encode() for key in (first, second)]
    for key in (first, second):
        assert is_signed(HASH, signature_of(key), keys)
        assert is_signed(HASH, f" {signature_of(key)}\n", keys)
    assert not is_signed(HASH, signature_of(SigningKey.generate()), keys)
    assert not is_signed(HASH, signature_of(first), [])
    assert not is_signed("cd" * 32, signature_of(first), keys)


@pytest.mark.parametrize("signature", ["", "no base64!", "AAAA", "A" * 88, "ä"])
def test_what_is_no_signature(signature: str) -> None:
    assert not is_signed(HASH, signature, [SigningKey.generate().verify_key.encode()])


def test_keys_of_a_setting_are_read_and_shown() -> None:
    keys = tuple(SigningKey.generate().verify_key.encode() for _ in range(2))
    form = signing_keys()
    assert form.parse(form.show(keys)) == keys
    for wrong in ("no key", "AAAA", base64.b64encode(bytes(33)).decode()):
        with pytest.raises(ValueError):
            parse_signing_key(wrong)
