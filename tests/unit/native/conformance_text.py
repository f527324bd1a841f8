"""Section 6 of the conformance suite: UTF-8 in text messages (see `conformance_cases`)."""

from __future__ import annotations

from collections.abc import Iterator

from native.shapes import Event
from tests.unit.native.chunk_frames import frame
from tests.unit.native.conformance_cases import Case, fatal, message

BAD: Event = fatal(1007, b"text is not UTF-8")
GREETING = "Hello-µ@ßöäüàá-UTF-8!!".encode()
# The second letter is U+1F79 (three bytes), as in the suite.
KOSME = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"
INVALID = KOSME + b"\xed\xa0\x80edited"


def _points(*codes: int) -> list[bytes]:
    return [chr(code).encode("utf-8", "surrogatepass") for code in codes]


def _forms(first: bytes, second: bytes, last: bytes) -> list[bytes]:
    """Sequences of two to six bytes: lead bytes, then the byte after each lead, then `last` as often as needed."""
    return [first[i : i + 1] + second[i : i + 1] + last * i for i in range(5)]


_HIGHS, _LOWS = (0xD800, 0xDB7F, 0xDB80, 0xDBFF), (0xDC00, 0xDFFF)
_CUT_SHORT = [form[:-1] for form in _forms(b"\xc0\xe0\xf0\xf8\xfc", b"\x80" * 5, b"\x80")] + [
    form[:-1] for form in _forms(b"\xdf\xef\xf7\xfb\xfd", b"\xbf" * 5, b"\xbf")
]
_OVERLONG_SLASH = [form[:-1] + b"\xaf" for form in _forms(b"\xc0\xe0\xf0\xf8\xfc", b"\x80" * 5, b"\x80")]
_LEADS = [(0xC0, 0xE0), (0xE0, 0xF0), (0xF0, 0xF8), (0xF8, 0xFC), (0xFC, 0xFE)]

# Group 6.n: the texts of its cases in order, and which of them (from 1) are well-formed.
GROUPS: dict[int, tuple[list[bytes], set[int]]] = {
    5: ([b"hello" + part + b"world" for part in _points(0x24, 0xA2, 0x20AC, 0x24B62)] + [KOSME], {1, 2, 3, 4, 5}),
    6: ([KOSME[:end] for end in range(1, 12)], {2, 5, 7, 9, 11}),
    7: (_points(0x00, 0x80, 0x800, 0x10000), {1, 2, 3, 4}),
    8: ([b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"], set()),
    9: (_points(0x7F, 0x7FF, 0xFFFF, 0x10FFFF), {1, 2, 3, 4}),
    10: ([b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"], set()),
    11: ([*_points(0xD7FF, 0xE000, 0xFFFD, 0x10FFFF), b"\xf4\x90\x80\x80"], {1, 2, 3, 4}),
    12: ([b"\x80", b"\xbf", *((b"\x80\xbf" * 3)[:end] for end in range(2, 7)), bytes(range(0x80, 0xC0))], set()),
    13: ([b"".join(bytes([lead]) + b" " for lead in range(*span)) for span in _LEADS], set()),
    14: (_CUT_SHORT, set()),
    15: ([b"".join(_CUT_SHORT)], set()),
    16: ([b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"], set()),
    17: (_OVERLONG_SLASH, set()),
    18: (_forms(b"\xc1\xe0\xf0\xf8\xfc", b"\xbf\x9f\x8f\x87\x83", b"\xbf"), set()),
    19: (_forms(b"\xc0\xe0\xf0\xf8\xfc", b"\x80" * 5, b"\x80"), set()),
    20: (_points(0xD800, 0xDB7F, 0xDB80, 0xDBFF, 0xDC00, 0xDF80, 0xDFFF), set()),
    21: ([b"".join(_points(high, low)) for high in _HIGHS for low in _LOWS], set()),
    22: (_points(*(plane << 16 | end for plane in range(17) for end in (0xFFFE, 0xFFFF))), set(range(1, 35))),
    23: (_points(*range(0xFFF9, 0x10000)), set(range(1, 8))),
}


def _octets(text: bytes) -> bytes:
    """A text message with a frame for every byte."""
    return b"".join(frame(0 if i else 1, text[i : i + 1], fin=i == len(text) - 1) for i in range(len(text)))


def texts() -> Iterator[Case]:
    """All cases of section 6."""
    empty, last = frame(1, b"", fin=False), frame(0, b"")
    yield Case("6.1.1", frame(1, b""), 0, [message(1, b"")])
    yield Case("6.1.2", empty + frame(0, b"", fin=False) + last, 0, [message(1, b"")])
    yield Case(
        "6.1.3", empty + frame(0, b"middle frame payload", fin=False) + last, 0, [message(1, b"middle frame payload")]
    )
    yield Case("6.2.1", frame(1, GREETING), 0, [message(1, GREETING)])
    halves = frame(1, "Hello-µ@ßöä".encode(), fin=False) + frame(0, "üàá-UTF-8!!".encode())
    yield Case("6.2.2", halves, 0, [message(1, GREETING)])
    yield Case("6.2.3", _octets(GREETING), 0, [message(1, GREETING)])
    yield Case("6.2.4", _octets(KOSME), 0, [message(1, KOSME)])
    yield Case("6.3.1", frame(1, INVALID), 0, [BAD])
    yield Case("6.3.2", _octets(INVALID), 0, [BAD])
    three = [frame(1, KOSME, fin=False), frame(0, b"\xf4\x90\x80\x80", fin=False), frame(0, b"edited")]
    yield Case("6.4.1", b"".join(three), 0, [BAD])
    three = [frame(1, KOSME + b"\xf4", fin=False), frame(0, b"\x90", fin=False), frame(0, b"\x80\x80edited")]
    yield Case("6.4.2", b"".join(three), 0, [BAD])
    yield Case("6.4.3", frame(1, KOSME + b"\xf4\x90\x80\x80edited"), 17, [BAD])
    yield Case("6.4.4", frame(1, KOSME + b"\xf4\x90\x80\x80edited"), 1, [BAD])
    for group, (cases, well_formed) in GROUPS.items():
        for number, text in enumerate(cases, start=1):
            yield Case(f"6.{group}.{number}", frame(1, text), 0, [message(1, text) if number in well_formed else BAD])
