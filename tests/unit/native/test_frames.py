"""The frame encoder: lengths, masks, and what no peer may send."""

from __future__ import annotations

from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.shapes import EV_MESSAGE
from tests.unit.native.chunk_frames import IMPLEMENTATIONS


@pytest.mark.parametrize(
    ("length", "head"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_encode_frame_lengths(native_impl: ModuleType, length: int, head: bytes) -> None:
    payload = bytes(length)
    assert native_impl.encode_frame(1, payload) == head + payload
    masked = bytes([head[0], head[1] | 0x80]) + head[2:]
    assert native_impl.encode_frame(1, bytearray(payload), mask=b"\0\0\0\0") == masked + b"\0\0\0\0" + payload


def test_encode_frame_rfc_examples(native_impl: ModuleType) -> None:
    # RFC 6455, section 5.7
    assert native_impl.encode_frame(1, b"Hello") == bytes.fromhex("810548656c6c6f")
    assert native_impl.encode_frame(1, b"Hello", mask=bytes.fromhex("37fa213d")) == bytes.fromhex(
        "818537fa213d7f9f4d5158"
    )
    assert native_impl.encode_frame(1, b"Hel", fin=False) + native_impl.encode_frame(0, b"lo") == bytes.fromhex(
        "010348656c80026c6f"
    )
    assert native_impl.encode_frame(9, memoryview(b"Hello")) == bytes.fromhex("890548656c6c6f")


@pytest.mark.parametrize("opcode", [3, 7, 11, 15, 16, -1])
def test_encode_frame_refuses_reserved_opcodes(native_impl: ModuleType, opcode: int) -> None:
    with pytest.raises(ValueError, match=f"Opcode {opcode} is reserved"):
        native_impl.encode_frame(opcode, b"")


def test_encode_frame_refuses_bad_control_frames_and_masks(native_impl: ModuleType) -> None:
    for options in ({"payload": bytes(126)}, {"payload": b"", "fin": False}):
        with pytest.raises(ValueError, match="A control frame is unfragmented"):
            native_impl.encode_frame(8, **options)
    with pytest.raises(ValueError, match="A mask has 4 bytes"):
        native_impl.encode_frame(1, b"", mask=b"abc")


@given(payload=st.binary(max_size=300), mask=st.binary(min_size=4, max_size=4), opcode=st.sampled_from([1, 2]))
def test_encode_frame_is_read_back(payload: bytes, mask: bytes, opcode: int) -> None:
    frames = {module.encode_frame(opcode, payload, mask=mask) for module in IMPLEMENTATIONS}
    assert len(frames) == 1
    expected = [(EV_MESSAGE, None, payload, opcode, 0)]
    for module in IMPLEMENTATIONS:
        events = module.Pump(max_message_bytes=1000).feed(frames.copy().pop())
        if opcode == 2 or events[0][0] == EV_MESSAGE:
            assert events == expected
        else:
            with pytest.raises(UnicodeDecodeError):
                payload.decode()
