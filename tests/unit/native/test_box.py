"""Opening and sealing boxes: the protocol's vectors, the tamper set, lengths, and arguments out of bounds."""

from __future__ import annotations

import base64
from types import ModuleType

import pytest

from native.shapes import DecryptError
from tests.unit.native.chunk_frames import KEY

V1 = (
    b"gIGCg4SFhoeIiYqLjI2Oj5CRkpOUlZaXzumgNj4/F/WLfJV+q/UNSeMPod1jhOpFZVNMZPZ+hjM/lUHIi4SfAYLqIzy/EBQtynFpRVYksv6yZL/B6wic"
    b"k9OHgt0WNeyhq3cWuNYffY2SxJdqSQUbJooqDab9r8MB6B1gKp7VsM7m0bXJV7ZhRcOLSw=="
)
V1_TEXT = b'{"model":"test-model","messages":[{"role":"user","content":"hello"}],"stream":true,"max_tokens":16}'
V2 = (
    b"oKGio6SlpqeoqaqrrK2ur7CxsrO0tba37j7IcCzkbCpXZJDjmgQChYJgIrIoNckldeAagdXwloqvNl2A4A3N4ROjlLV0pnC8B8wdeXUljkjVpMLQfQ4J"
    b"s0HjyFHGMwzllfSNyQKAds1bmQu7GSurgfkXRK8dRa2g"
)
V2_TEXT = 'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"hé 🌍"}}]}'.encode()
V3 = b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAwmgD5/vOd0WBIph6h1vvlw=="
V4 = b"wMHCw8TFxsfIycrLzM3Oz9DR0tPU1dbXm1TZcNUGai1dE22FqjfSJy2RPZK91I2raZG0Wg=="
V5 = b"4OHi4+Tl5ufo6err7O3u7/Dx8vP09fb3dVVvL77AVksnl7UeYRYbI2u+Bmx3hhZmm2d5a0U3Z1RgJ7U8KAwU43P/zNcugkF0FMy8aMjoNvY8fe+A"
VECTORS = [
    (V1, V1_TEXT, bytes(range(0x80, 0x98))),
    (V2, V2_TEXT, bytes(range(0xA0, 0xB8))),
    (V3, b"", bytes(24)),
    (V4, b"data: [DONE]", bytes(range(0xC0, 0xD8))),
    (V5, base64.b64encode(bytes(range(32))), bytes(range(0xE0, 0xF8))),
]


@pytest.mark.parametrize(("sealed", "plaintext", "nonce"), VECTORS)
def test_box_vectors_both_ways(native_impl: ModuleType, sealed: bytes, plaintext: bytes, nonce: bytes) -> None:
    assert native_impl.seal(plaintext, KEY, nonce) == sealed
    assert native_impl.open_chunk(sealed, 0, len(sealed), KEY) == plaintext
    around = b'{"ciphertext":"' + sealed.replace(b"/", b"\\/") + b'"}'
    assert native_impl.open_chunk(bytearray(around), 15, len(around) - 2, bytearray(KEY)) == plaintext


def test_open_chunk_five_times_succeeds_five_times(native_impl: ModuleType) -> None:
    assert {native_impl.open_chunk(V1, 0, len(V1), KEY) for _ in range(5)} == {V1_TEXT}


def _tampered() -> list[bytes]:
    box = base64.b64decode(V1)

    def flip(at: int, bits: int) -> bytes:
        return box[:at] + bytes([box[at] ^ bits]) + box[at:][1:]

    broken = [flip(0, 0xFF), flip(24, 0x01), flip(len(box) - 1, 0x01), box[:-1], box[:24], box[:39], b""]
    return [base64.b64encode(value) for value in broken] + [V1.replace(b"/", b"_"), V1[:-1], V1 + b"\n", V1 + b"AAAA"]


@pytest.mark.parametrize("text", _tampered())
def test_open_chunk_rejects_what_was_tampered_with(native_impl: ModuleType, text: bytes) -> None:
    with pytest.raises(DecryptError) as caught:
        native_impl.open_chunk(text, 0, len(text), KEY)
    assert str(caught.value) == "The chunk does not open."


@pytest.mark.parametrize("key", [bytes(32), bytes(byte ^ 1 for byte in KEY)])
def test_open_chunk_rejects_another_key(native_impl: ModuleType, key: bytes) -> None:
    with pytest.raises(DecryptError):
        native_impl.open_chunk(V1, 0, len(V1), key)


def test_open_chunk_rejects_every_flipped_byte(native_impl: ModuleType) -> None:
    box = base64.b64decode(V4)
    for at in range(len(box)):
        text = base64.b64encode(box[:at] + bytes([box[at] ^ 0x10]) + box[at + 1 :])
        with pytest.raises(DecryptError):
            native_impl.open_chunk(text, 0, len(text), KEY)


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 23, 24, 25, 31, 32, 33, 255, 256, 1024, 65_536, 16_777_216])
def test_seal_round_trip_by_length(native_impl: ModuleType, length: int) -> None:
    plaintext = (b"0123456789abcde" * (length // 15 + 1))[:length]
    sealed = native_impl.seal(plaintext, KEY)
    assert len(sealed) == (length + 40 + 2) // 3 * 4
    assert native_impl.open_chunk(sealed, 0, len(sealed), KEY) == plaintext


def test_seal_uses_a_fresh_nonce(native_impl: ModuleType) -> None:
    assert native_impl.seal(b"same", KEY) != native_impl.seal(b"same", KEY)


def test_box_checks_its_arguments(native_impl: ModuleType) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        native_impl.seal(b"x", KEY[:-1])
    with pytest.raises(ValueError, match="24 bytes"):
        native_impl.seal(b"x", KEY, b"short")
    with pytest.raises(ValueError, match="32 bytes"):
        native_impl.open_chunk(V1, 0, len(V1), KEY + b"x")
    for start, end in [(-1, 4), (4, 3), (0, len(V1) + 1)]:
        with pytest.raises(IndexError, match="does not lie"):
            native_impl.open_chunk(V1, start, end, KEY)
