"""Strict base64: one text for one value, nothing else."""

from __future__ import annotations

import base64
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.native.chunk_frames import IMPLEMENTATIONS


@pytest.mark.parametrize("length", range(70))
def test_decode_base64_round_trip(native_impl: ModuleType, length: int) -> None:
    data = bytes((37 * i + length) % 256 for i in range(length))
    encoded = base64.b64encode(data)
    assert native_impl.decode_base64(encoded) == data
    assert native_impl.decode_base64(bytearray(encoded)) == data
    assert native_impl.decode_base64(encoded.replace(b"/", b"\\/")) == data


@pytest.mark.parametrize(
    "text",
    [
        b"A", b"AA", b"AAA", b"AAAAA", b"====", b"A===", b"=AAA", b"AA=A", b"AAA=AAAA", b"AA==AAAA", b"AAAA====",
        b"AB==", b"AAB=", b"AP==", b"AAAA\n", b"AA AA", b" AAAA", b"AA-_", b"AA\\A", b"\\AAAA", b"AAA\\", b"\\\\/AA",
        b"AA\xc3\xa9A", b"AAA\x00", b"AAA\x80", b"AAA\xff", b"AA\\==", b"AAA\\/=", b"AA=\\",
    ],
)  # fmt: skip
def test_decode_base64_rejects(native_impl: ModuleType, text: bytes) -> None:
    with pytest.raises(ValueError, match="strict base64"):
        native_impl.decode_base64(text)


def test_decode_base64_rejects_every_foreign_byte_at_every_place(native_impl: ModuleType) -> None:
    good = b"QUJDREVGR0hJSktM"
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for place in range(len(good)):
        for byte in set(range(256)) - set(alphabet):
            if byte == ord("=") and place == len(good) - 1:
                continue
            with pytest.raises(ValueError):
                native_impl.decode_base64(good[:place] + bytes([byte]) + good[place + 1 :])


@given(
    st.lists(st.sampled_from([b"A", b"/", b"\\/", b"=", b"9", b"\\", b"w", b"QUJD", b"-", b"\n"]), max_size=12).map(
        b"".join
    )
)
def test_decode_base64_agrees_with_the_twin(text: bytes) -> None:
    answers: list[bytes | None] = []
    for module in IMPLEMENTATIONS:
        try:
            answers.append(module.decode_base64(text))
        except ValueError:
            answers.append(None)
    assert len(set(answers)) == 1
    if answers[0] is not None:
        assert base64.b64encode(answers[0]) == text.replace(b"\\/", b"/")
