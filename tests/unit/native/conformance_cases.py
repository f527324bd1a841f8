"""The cases of the public Autobahn WebSocket conformance suite as input for a pump and the events that must follow.

Ids and ideas are the suite's. An echo server answers a message with the same message; here the message event stands
for the echo, a ping event for the pong that the caller sends, a fatal event for the close with that code.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from native.shapes import EV_CLOSE, EV_FATAL, EV_MESSAGE, EV_PING, EV_PONG, Event
from tests.unit.native.chunk_frames import MASK, frame

CHOP_BYTES = 65_536


class Case(NamedTuple):
    """Bytes of the client, the size of the pieces in which they arrive (0 for one piece), and the events."""

    id: str
    data: bytes
    chop: int
    events: list[Event]


def message(opcode: int, payload: bytes) -> Event:
    """The event of a whole message."""
    return (EV_MESSAGE, None, payload, opcode, 0)


def fatal(code: int, reason: bytes) -> Event:
    """The event of a broken rule."""
    return (EV_FATAL, None, reason, code, 0)


def ping(payload: bytes) -> Event:
    """The event of a ping."""
    return (EV_PING, None, payload, 0, 0)


def close(code: int, reason: bytes = b"") -> Event:
    """The event of a close frame."""
    return (EV_CLOSE, None, reason, code, 0)


def raw(first: int, payload: bytes = b"") -> bytes:
    """A masked frame of less than 126 bytes with any first byte."""
    masked = bytes(byte ^ MASK[i % 4] for i, byte in enumerate(payload))
    return bytes([first, 0x80 | len(payload)]) + MASK + masked


def framing() -> Iterator[Case]:
    """Section 1: messages of every length form."""
    sizes = [0, 125, 126, 127, 128, 65_535, 65_536, 65_536]
    for group, (opcode, filler) in enumerate([(1, b"*"), (2, b"\xfe")], start=1):
        for number, size in enumerate(sizes, start=1):
            body = filler * size
            yield Case(f"1.{group}.{number}", frame(opcode, body), 997 if number == 8 else 0, [message(opcode, body)])


def pings() -> Iterator[Case]:
    """Section 2: pings and pongs."""
    many = [f"payload-{i}".encode() for i in range(10)]
    yield Case("2.1", frame(9, b""), 0, [ping(b"")])
    yield Case("2.2", frame(9, b"Hello, world!"), 0, [ping(b"Hello, world!")])
    yield Case("2.3", frame(9, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"), 0, [ping(b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff")])
    yield Case("2.4", frame(9, b"\xfe" * 125), 0, [ping(b"\xfe" * 125)])
    too_long = b"\x89\xfe\x00\x7e" + MASK + b"\xfe" * 126
    yield Case("2.5", too_long, 0, [fatal(1002, b"control frame is too long")])
    yield Case("2.6", frame(9, b"\xfe" * 125), 1, [ping(b"\xfe" * 125)])
    yield Case("2.7", frame(10, b""), 0, [(EV_PONG, None, b"", 0, 0)])
    yield Case("2.8", frame(10, b"unsolicited"), 0, [(EV_PONG, None, b"unsolicited", 0, 0)])
    both: list[Event] = [(EV_PONG, None, b"unsolicited", 0, 0), ping(b"ping payload")]
    yield Case("2.9", frame(10, b"unsolicited") + frame(9, b"ping payload"), 0, both)
    for number, chop in ((10, 0), (11, 1)):
        yield Case(f"2.{number}", b"".join(frame(9, one) for one in many), chop, [ping(one) for one in many])


def reserved() -> Iterator[Case]:
    """Sections 3 and 4: reserved bits, reserved opcodes."""
    hello = frame(1, b"Hello, world!")
    echoed = message(1, b"Hello, world!")
    bits = fatal(1002, b"reserved bits are set")
    yield Case("3.1", raw(0x91, b"Hello, world!"), 0, [bits])
    yield Case("3.2", hello + raw(0xA1, b"Hello, world!") + frame(9, b""), 0, [echoed, bits])
    yield Case("3.3", hello + raw(0xB1, b"Hello, world!") + frame(9, b""), 19, [echoed, bits])
    yield Case("3.4", hello + raw(0xC1, b"Hello, world!") + frame(9, b""), 1, [echoed, bits])
    yield Case("3.5", raw(0xD2, b"\x00\xff\xfe"), 0, [bits])
    yield Case("3.6", raw(0xE9, b"Hello, world!"), 0, [bits])
    yield Case("3.7", raw(0xF8), 0, [bits])
    opcode = fatal(1002, b"reserved opcode")
    for group, first in ((1, 3), (2, 11)):
        yield Case(f"4.{group}.1", raw(0x80 | first), 0, [opcode])
        yield Case(f"4.{group}.2", raw(0x81 + first, b"reserved"), 0, [opcode])
        yield Case(f"4.{group}.3", hello + raw(0x82 + first) + frame(9, b""), 0, [echoed, opcode])
        yield Case(f"4.{group}.4", hello + raw(0x83 + first, b"reserved") + frame(9, b""), 0, [echoed, opcode])
        yield Case(f"4.{group}.5", hello + raw(0x84 + first, b"reserved") + frame(9, b""), 1, [echoed, opcode])


def fragments() -> Iterator[Case]:
    """Section 5: fragmented messages."""
    control = fatal(1002, b"fragmented control frame")
    yield Case("5.1", raw(0x09, b"fragment1") + raw(0x80, b"fragment2"), 0, [control])
    yield Case("5.2", raw(0x0A, b"fragment1") + raw(0x80, b"fragment2"), 0, [control])
    first, last = frame(1, b"fragment1", fin=False), frame(0, b"fragment2")
    whole = message(1, b"fragment1fragment2")
    for number, chop in ((3, 0), (4, 15), (5, 1)):
        yield Case(f"5.{number}", first + last, chop, [whole])
    for number, chop in ((6, 0), (7, 15), (8, 1)):
        yield Case(f"5.{number}", first + frame(9, b"ping payload") + last, chop, [ping(b"ping payload"), whole])
    nothing = fatal(1002, b"continuation without a message")
    hello = frame(1, b"Hello, world!")
    for start, fin in ((9, True), (12, False)):
        stray = frame(0, b"non-continuation payload", fin=fin)
        for number, chop in enumerate((0, 30, 1), start=start):
            yield Case(f"5.{number}", stray + hello, chop, [nothing])
    stray = frame(0, b"fragment3", fin=False)
    yield Case("5.15", first + last + stray + frame(1, b"fragment4"), 0, [whole, nothing])
    for number, fin in ((16, False), (17, True)):
        yield Case(f"5.{number}", (frame(0, b"fragment1", fin=fin) + first + last) * 2, 0, [nothing])
    twice = frame(1, b"fragment1", fin=False) + frame(1, b"fragment2")
    yield Case("5.18", twice, 0, [fatal(1002, b"message inside a message")])
    parts = [frame(1 if i == 1 else 0, f"fragment{i}".encode(), fin=i == 5) for i in range(1, 6)]
    data = parts[0] + parts[1] + frame(9, b"ping 1") + parts[2] + parts[3] + frame(9, b"ping 2") + parts[4]
    five = message(1, b"".join(f"fragment{i}".encode() for i in range(1, 6)))
    for number, chop in ((19, 0), (20, 15)):
        yield Case(f"5.{number}", data, chop, [ping(b"ping 1"), ping(b"ping 2"), five])


def closing() -> Iterator[Case]:
    """Section 7: the close handshake."""
    hello, echoed = frame(1, b"Hello World!"), message(1, b"Hello World!")
    bye, closed = frame(8, b"\x03\xe8"), close(1000)
    yield Case("7.1.1", hello + bye, 0, [echoed, closed])
    yield Case("7.1.2", bye + bye, 0, [closed])
    yield Case("7.1.3", bye + frame(9, b""), 0, [closed])
    yield Case("7.1.4", bye + hello, 0, [closed])
    yield Case("7.1.5", frame(1, b"fragment1", fin=False) + bye + frame(0, b"fragment2"), 0, [closed])
    large = b"BAsd7&jh23" * 26_215
    yield Case("7.1.6", frame(1, large) + bye + frame(9, b""), CHOP_BYTES, [message(1, large), closed])
    yield Case("7.3.1", frame(8, b""), 0, [close(1005)])
    yield Case("7.3.2", frame(8, b"a"), 0, [fatal(1002, b"close payload of one byte")])
    yield Case("7.3.3", bye, 0, [closed])
    yield Case("7.3.4", frame(8, b"\x03\xe8Hello World!"), 0, [close(1000, b"Hello World!")])
    yield Case("7.3.5", frame(8, b"\x03\xe8" + b"*" * 123), 0, [close(1000, b"*" * 123)])
    too_long = b"\x88\xfe\x00\x7e" + MASK + b"*" * 126
    yield Case("7.3.6", too_long, 0, [fatal(1002, b"control frame is too long")])
    bad_reason = b"\x03\xe8\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"
    yield Case("7.5.1", frame(8, bad_reason), 0, [fatal(1007, b"close reason is not UTF-8")])
    allowed = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
    for number, code in enumerate(allowed, start=1):
        yield Case(f"7.7.{number}", frame(8, code.to_bytes(2)), 0, [close(code)])
    wrong = fatal(1002, b"close code may not be sent")
    for number, code in enumerate([0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999], start=1):
        yield Case(f"7.9.{number}", frame(8, code.to_bytes(2)), 0, [wrong])
    for number, code in enumerate([5000, 65_535], start=1):
        yield Case(f"7.13.{number}", frame(8, code.to_bytes(2)), 0, [wrong])


_KIB = (64, 256, 1024, 4096, 8192, 16_384)
_FRAGMENTS = (64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1 << 20, 4 << 20)
_CHOPS = (64, 128, 256, 512, 1024, 2048)
_SIZES = (0, 16, 64, 256, 1024, 4096)
_LIMITS = {"9.1": _KIB, "9.3": _FRAGMENTS, "9.5": _CHOPS, "9.7": _SIZES, "10.1": (1300,)}
_LIMITS |= {"9.2": _KIB, "9.4": _FRAGMENTS, "9.6": _CHOPS, "9.8": _SIZES}

LIMIT_IDS = [f"{group}.{number}" for group, values in _LIMITS.items() for number in range(1, len(values) + 1)]


def limit_case(case_id: str) -> Case:
    """One case of sections 9 and 10: large messages, many fragments, small pieces, many messages."""
    group, _, number = case_id.rpartition(".")
    value = _LIMITS[group][int(number) - 1]
    opcode = 2 if group in ("9.2", "9.4", "9.6", "9.8") else 1
    if group in ("9.1", "9.2"):
        body = b"*" * (value * 1024)
        return Case(case_id, frame(opcode, body), CHOP_BYTES, [message(opcode, body)])
    if group in ("9.5", "9.6"):
        body = b"*" * (1 << 20)
        return Case(case_id, frame(opcode, body), value, [message(opcode, body)])
    if group in ("9.7", "9.8"):
        body = b"*" * value
        return Case(case_id, frame(opcode, body) * 1000, CHOP_BYTES, [message(opcode, body)] * 1000)
    body = b"*" * (65_536 if group == "10.1" else 4 << 20)
    starts = range(0, len(body), value)
    parts = [frame(0 if at else opcode, body[at : at + value], fin=at + value >= len(body)) for at in starts]
    return Case(case_id, b"".join(parts), CHOP_BYTES, [message(opcode, body)])
