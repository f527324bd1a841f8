"""Keys come from mnemonics as published; words never show."""

from __future__ import annotations

import unicodedata
from base64 import b64encode

import pytest

from server.sealed import KeyRing, MnemonicUnusable, SealingKey, key_from_mnemonic
from server.sealed.keys import has_valid_checksum
from tests.testbed.sealed_client import KID, MNEMONIC, PUBLIC_KEY

WINNER = "legal winner thank year wave sausage worth useful legal winner thank yellow"


def test_published_vectors() -> None:
    first = key_from_mnemonic(MNEMONIC)
    assert first.private.view().hex() == "32c2f4d9e1c15c41c390b8a26ed14488548ed6033648eb9e38a08421792ce17b"
    assert (first.kid, b64encode(first.public).decode()) == (KID, PUBLIC_KEY)
    second = key_from_mnemonic(WINNER)
    assert second.private.view().hex() == "fe35bbc47c702e5e58af2c8097e64111374f4cc4e672f734e5af012e6fb3375a"
    assert second.kid == "ac7a02b2227d17d4"
    assert second.described() == {
        "kid": "ac7a02b2227d17d4",
        "public_key": "EGuzqxzUdekfp56gzvml+4CRmzMKITeFNkUSFtijClI=",
        "algorithm": "x25519-nacl-box",
    }


@pytest.mark.parametrize(
    "written",
    [
        f"  {MNEMONIC}\n",
        MNEMONIC.replace(" ", "  "),
        MNEMONIC.replace(" ", "\t"),
        unicodedata.normalize("NFC", MNEMONIC),
    ],
)
def test_white_space_does_not_change_the_key(written: str) -> None:
    assert key_from_mnemonic(written).kid == KID


@pytest.mark.parametrize("count", [0, 1, 11, 13, 15, 23, 25])
def test_other_numbers_of_words_are_refused_without_repeating_them(count: int) -> None:
    with pytest.raises(MnemonicUnusable, match=f"12 or 24 words, not {count}") as caught:
        key_from_mnemonic("abandon " * count)
    assert "abandon" not in str(caught.value)


def test_24_words_are_taken() -> None:
    assert len(key_from_mnemonic("abandon " * 23 + "art").kid) == 16


def test_checksum_finds_typing_errors() -> None:
    assert has_valid_checksum(MNEMONIC)
    assert has_valid_checksum(WINNER)
    assert not has_valid_checksum(MNEMONIC.replace("about", "above"))
    assert not has_valid_checksum(MNEMONIC.replace("about", "abuot"))


def test_neither_words_nor_private_key_show() -> None:
    key = key_from_mnemonic(MNEMONIC)
    shown = f"{key!r} {KeyRing(key)!r}"
    assert "abandon" not in shown
    assert key.private.view().hex() not in shown
    assert bytes(key.private.view()) not in shown.encode()


def test_ring_finds_both_keys_by_kid_and_all_without() -> None:
    new, old = key_from_mnemonic(WINNER), key_from_mnemonic(MNEMONIC)
    ring = KeyRing(new, old)
    assert ring.candidates(new.kid) == (new,)
    assert ring.candidates(old.kid) == (old,)
    assert ring.candidates("0" * 16) == ()
    assert ring.candidates(None) == ring.candidates("") == (new, old)


def test_any_private_key_makes_a_pair() -> None:
    key = SealingKey.from_private(bytes(range(1, 33)))
    assert b64encode(key.public).decode() == "B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9/AsrhtHHw="
