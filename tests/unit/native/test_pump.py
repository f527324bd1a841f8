"""The frame pump by example: every event, every rule, on both implementations."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from native.shapes import (
    EV_BAD_TEXT,
    EV_CLOSE,
    EV_FATAL,
    EV_MESSAGE,
    EV_OPAQUE,
    EV_OPENED,
    EV_PING,
    EV_PONG,
    EV_RUN,
    EV_VIOLATION,
    EVENT_LIMIT,
    V_BASE64,
    V_OPEN,
    V_SENDER_KEY,
    V_SHORT,
    SpliceTemplate,
)
from tests.unit.native.chunk_frames import KEY, PEER, TEMPLATE, chunk, delta, frame, sealed, spliced, text

OTHER_KEY = bytes(range(32))


def make_pump(module: ModuleType, *ids: str, template: SpliceTemplate | None = None, **options: Any) -> Any:
    """A pump with the peer's key and the ids attached; every owner is the id in capitals."""
    pump = module.Pump(max_message_bytes=options.pop("max_message_bytes", 1 << 20))
    pump.set_peer_key(PEER)
    for request_id in ids:
        pump.attach(request_id, KEY, request_id.upper(), **options)
        pump.set_template(request_id, template)
    return pump


def test_pump_opens_a_chunk(native_impl: ModuleType) -> None:
    pump = make_pump(native_impl, "a")
    assert pump.feed(text(chunk("a", sealed(b"data: {}")))) == [(EV_OPENED, "A", b"data: {}", 0, 0)]
    assert pump.feed(text(chunk("a", sealed(b"")))) == [(EV_OPENED, "A", b"", 0, 0)]


def test_pump_takes_a_chunk_from_a_binary_message(native_impl: ModuleType) -> None:
    pump = make_pump(native_impl, "a")
    assert pump.feed(frame(2, chunk("a", sealed(b"x")))) == [(EV_OPENED, "A", b"x", 0, 0)]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_pump_takes_any_buffer_cut_anywhere(native_impl: ModuleType, kind: Any) -> None:
    data = text(chunk("a", sealed(b"one"))) + frame(9, b"p") + text(b"{}")
    for cut in range(len(data) + 1):
        pump = make_pump(native_impl, "a")
        events = pump.feed(kind(data[:cut])) + pump.feed(kind(data[cut:]))
        assert events == [(EV_OPENED, "A", b"one", 0, 0), (EV_PING, None, b"p", 0, 0), (EV_MESSAGE, None, b"{}", 1, 0)]


def test_pump_splices_runs_of_several_attempts(native_impl: ModuleType) -> None:
    pump = make_pump(native_impl, "a", "b", template=TEMPLATE)
    order = [("a", b"Hi"), ("b", "é".encode()), ("a", rb"\"\n\u0007\\"), ("b", rb"x")]
    events = pump.feed(b"".join(text(chunk(name, sealed(delta(word)))) for name, word in order))
    assert events == [
        (EV_RUN, "A", spliced(b"Hi") + spliced(rb"\"\n\u0007\\"), 2, 6),
        (EV_RUN, "B", spliced("é".encode()) + spliced(b"x"), 2, 3),
    ]


def test_pump_writes_escaped_slashes_plain(native_impl: ModuleType) -> None:
    pump = make_pump(native_impl, "a", template=TEMPLATE)
    events = pump.feed(text(chunk("a", sealed(delta(rb"\/a\\/b\/\\\/")))))
    assert events == [(EV_RUN, "A", spliced(rb"/a\\/b/\\/"), 1, 8)]


@pytest.mark.parametrize(
    "plaintext",
    [
        delta(b""),
        delta(rb"\u0041"),
        delta(rb"\u001F"),
        delta(rb"\u0009"),
        delta(rb"\u000d"),
        delta(rb"\u007f"),
        delta(rb"\u00e9"),
        delta(rb"\x"),
        delta(b"\\"),
        delta(rb"\u000"),
        delta(b'"'),
        delta(b'a","b":"c'),
        delta(b"a\nb"),
        delta(b"\x1f"),
        delta(b"x", end=b" "),
        delta(b"x")[1:],
        TEMPLATE.in_prefix,
        TEMPLATE.in_prefix + TEMPLATE.in_suffix[1:],
        b"\n\r\n",
        delta(b"x") + delta(b"y"),
    ],
)
def test_pump_leaves_other_deltas_to_the_full_path(native_impl: ModuleType, plaintext: bytes) -> None:
    pump = make_pump(native_impl, "a", template=TEMPLATE)
    assert pump.feed(text(chunk("a", sealed(plaintext)))) == [(EV_OPENED, "A", plaintext, 0, 0)]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n\r\n", b"\n\n\r\n"])
def test_pump_splices_whatever_ends_the_event(native_impl: ModuleType, end: bytes) -> None:
    pump = make_pump(native_impl, "a", template=TEMPLATE)
    assert pump.feed(text(chunk("a", sealed(delta(b"x", end))))) == [(EV_RUN, "A", spliced(b"x"), 1, 1)]


def test_pump_template_with_empty_parts(native_impl: ModuleType) -> None:
    pump = make_pump(native_impl, "a", template=SpliceTemplate(b"", b"", b"", b""))
    assert pump.feed(text(chunk("a", sealed(b"word\n")))) == [(EV_RUN, "A", b"word", 1, 4)]


def test_pump_own_event_ends_the_run_of_that_attempt_alone(native_impl: ModuleType) -> None:
    pump = make_pump(native_impl, "a", "b", "c", template=TEMPLATE)
    words = [
        ("a", delta(b"1")),
        ("b", delta(b"2")),
        ("c", delta(b"3")),
        ("b", b"data: x"),
        ("b", delta(b"4")),
        ("a", delta(b"5")),
    ]
    events = pump.feed(b"".join(text(chunk(name, sealed(plain))) for name, plain in words))
    assert events == [
        (EV_RUN, "B", spliced(b"2"), 1, 1),
        (EV_OPENED, "B", b"data: x", 0, 0),
        (EV_RUN, "A", spliced(b"1") + spliced(b"5"), 2, 2),
        (EV_RUN, "C", spliced(b"3"), 1, 1),
        (EV_RUN, "B", spliced(b"4"), 1, 1),
    ]


def test_pump_last_and_middle_runs_leave_the_chain_cleanly(native_impl: ModuleType) -> None:
    pump = make_pump(native_impl, "a", "b", "c", template=TEMPLATE)
    for ender in "cba":
        words = [("a", delta(b"1")), ("b", delta(b"2")), ("c", delta(b"3")), (ender, b"end"), (ender, delta(b"4"))]
        events = pump.feed(b"".join(text(chunk(name, sealed(plain))) for name, plain in words))
        own = {"a": b"1", "b": b"2", "c": b"3"}
        rest = [(EV_RUN, name.upper(), spliced(own[name]), 1, 1) for name in "abc" if name != ender]
        first = [(EV_RUN, ender.upper(), spliced(own[ender]), 1, 1), (EV_OPENED, ender.upper(), b"end", 0, 0)]
        assert events == [*first, *rest, (EV_RUN, ender.upper(), spliced(b"4"), 1, 1)]


def test_pump_message_comes_after_all_runs(native_impl: ModuleType) -> None:
    pump = make_pump(native_impl, "a", "b", template=TEMPLATE)
    data = [text(chunk("a", sealed(delta(b"1")))), text(chunk("b", sealed(delta(b"2")))), text(b"{}"), frame(10, b"")]
    events = pump.feed(b"".join(data) + text(chunk("a", sealed(delta(b"3")))))
    assert [event[0] for event in events] == [EV_RUN, EV_RUN, EV_MESSAGE, EV_PONG, EV_RUN]


def test_pump_template_can_change_and_go(native_impl: ModuleType) -> None:
    pump = make_pump(native_impl, "a", template=TEMPLATE)
    one = text(chunk("a", sealed(delta(b"x"))))
    assert pump.feed(one)[0][:3] == (EV_RUN, "A", spliced(b"x"))
    pump.set_template("a", TEMPLATE._replace(out_prefix=b"<", out_suffix=b">"))
    assert pump.feed(one)[0][:3] == (EV_RUN, "A", b"<x>")
    pump.set_template("a", None)
    assert pump.feed(one)[0][0] == EV_OPENED
    pump.set_template("unknown", TEMPLATE)
    pump.set_template("unknown", None)


def test_pump_checks_templates(native_impl: ModuleType) -> None:
    pump = make_pump(native_impl, "a")
    with pytest.raises(ValueError, match="in_suffix is not valid UTF-8"):
        pump.set_template("a", TEMPLATE._replace(in_suffix=b"\xff"))
    with pytest.raises(ValueError, match="out_prefix has 65537 bytes"):
        pump.set_template("a", TEMPLATE._replace(out_prefix=b"x" * 65_537))


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        (chunk("a", sealed(b"x"), b"A" * 43 + b"="), V_SENDER_KEY),
        (chunk("a", sealed(b"x"), b""), V_SENDER_KEY),
        (chunk("a", sealed(b"x"), PEER + b"="), V_SENDER_KEY),
        (chunk("a", b"%%%%", b"A" * 43 + b"="), V_SENDER_KEY),
        (chunk("a", b"%%%%"), V_BASE64),
        (chunk("a", b"AAA"), V_BASE64),
        (chunk("a", sealed(b"x" * 60).replace(b"A", b"-", 1)), V_BASE64),
        (chunk("a", b"AB==" * 1), V_BASE64),
        (chunk("a", b""), V_SHORT),
        (chunk("a", b"A" * 52), V_SHORT),
        (chunk("a", b"A" * 56), V_OPEN),
        (chunk("a", sealed(b"x", OTHER_KEY)), V_OPEN),
    ],
)
def test_pump_reports_a_violation_once(native_impl: ModuleType, message: bytes, rule: int) -> None:
    pump = make_pump(native_impl, "a", "b", template=TEMPLATE)
    good = text(chunk("a", sealed(delta(b"x"))))
    assert pump.feed(good + text(message) + good) == [
        (EV_RUN, "A", spliced(b"x"), 1, 1),
        (EV_VIOLATION, "A", b"", rule, 0),
        (EV_MESSAGE, None, chunk("a", sealed(delta(b"x"))), 1, 0),
    ]
    pump.set_template("a", TEMPLATE)
    assert pump.feed(good)[0][0] == EV_MESSAGE
    assert pump.feed(text(chunk("b", sealed(b"y")))) == [(EV_OPENED, "B", b"y", 0, 0)]
    assert pump.detach("a") is True


def test_pump_reports_plaintext_that_is_not_utf8(native_impl: ModuleType) -> None:
    pump = make_pump(native_impl, "a", template=TEMPLATE)
    data = text(chunk("a", sealed(delta(b"ok")))) + text(chunk("a", sealed(delta(b"\xc3"))))
    assert pump.feed(data) == [(EV_RUN, "A", spliced(b"ok"), 1, 2), (EV_BAD_TEXT, "A", b"", 0, 0)]
    assert pump.feed(data)[0][0] == EV_MESSAGE


def test_pump_without_peer_key_trusts_nobody(native_impl: ModuleType) -> None:
    pump = make_pump(native_impl, "a", "b")
    pump.set_peer_key(b"")
    assert pump.feed(text(chunk("a", sealed(b"x"), b""))) == [(EV_VIOLATION, "A", b"", V_SENDER_KEY, 0)]
    pump.set_peer_key(PEER)
    assert pump.feed(text(chunk("b", sealed(b"x")))) == [(EV_OPENED, "B", b"x", 0, 0)]
    with pytest.raises(ValueError, match="at most 256"):
        pump.set_peer_key(b"x" * 257)


def test_pump_undoes_escaped_slashes(native_impl: ModuleType) -> None:
    pump = make_pump(native_impl, "a", "b/c")
    ciphertext = next(c for c in (sealed(bytes([i])) for i in range(256)) if b"/" in c)
    message = chunk("a", ciphertext, PEER).replace(b"/", rb"\/")
    assert pump.feed(text(message))[0][:2] == (EV_OPENED, "A")
    assert pump.feed(text(chunk("b/c", sealed(b"x")))) == [(EV_OPENED, "B/C", b"x", 0, 0)]
    odd = chunk(r"b\/c", sealed(b"x"))
    assert pump.feed(text(odd)) == [(EV_MESSAGE, None, odd, 1, 0)]


def test_pump_opaque_attempt_is_checked_and_never_opened(native_impl: ModuleType) -> None:
    pump = make_pump(native_impl, "a", "b", "c", opaque=True, template=TEMPLATE)
    foreign = sealed(b"secret", OTHER_KEY)
    while b"/" not in foreign:
        foreign = sealed(b"secret" + foreign[-6:], OTHER_KEY)
    assert pump.feed(text(chunk("a", foreign.replace(b"/", rb"\/")))) == [(EV_OPAQUE, "A", foreign, 0, 0)]
    assert pump.feed(text(chunk("a", foreign, b"other"))) == [(EV_VIOLATION, "A", b"", V_SENDER_KEY, 0)]
    assert pump.feed(text(chunk("b", b"AAAA"))) == [(EV_VIOLATION, "B", b"", V_SHORT, 0)]
    assert pump.feed(text(chunk("c", b"AB=="))) == [(EV_VIOLATION, "C", b"", V_BASE64, 0)]


@pytest.mark.parametrize(
    "message",
    [
        b'{"type":"heartbeat"}',
        chunk("stranger", sealed(b"x")),
        chunk("", sealed(b"x")),
        chunk("a" * 200, sealed(b"x")),
        chunk("a", sealed(b"x")).replace(b"}}", b'},"data":"plain"}'),
        chunk("a", sealed(b"x"))[:-1],
        b"",
        "é".encode(),
    ],
)
def test_pump_hands_up_everything_else(native_impl: ModuleType, message: bytes) -> None:
    pump = make_pump(native_impl, "a")
    assert pump.feed(text(message)) == [(EV_MESSAGE, None, message, 1, 0)]
    assert pump.feed(frame(2, message + b"\xff")) == [(EV_MESSAGE, None, message + b"\xff", 2, 0)]


def test_pump_attach_and_detach(native_impl: ModuleType) -> None:
    pump = make_pump(native_impl, "a")
    with pytest.raises(ValueError, match="attached already"):
        pump.attach("a", KEY, "again")
    for bad in ("", "x" * 129):
        with pytest.raises(ValueError, match="1 to 128 bytes"):
            pump.attach(bad, KEY, "owner")
    with pytest.raises(ValueError, match="32 bytes"):
        pump.attach("b", KEY[1:], "owner")
    assert pump.detach("b") is False
    assert pump.detach("a") is True
    assert pump.detach("a") is False
    message = chunk("a", sealed(b"x"))
    assert pump.feed(text(message)) == [(EV_MESSAGE, None, message, 1, 0)]
    pump.attach("a", bytearray(KEY), "new")
    assert pump.feed(text(message)) == [(EV_OPENED, "new", b"x", 0, 0)]


def test_pump_keeps_its_own_copy_of_the_key(native_impl: ModuleType) -> None:
    pump = make_pump(native_impl)
    key = bytearray(KEY)
    pump.attach("a", key, "A")
    key[:] = bytes(32)
    assert pump.feed(text(chunk("a", sealed(b"x")))) == [(EV_OPENED, "A", b"x", 0, 0)]


def test_pump_many_attempts_come_and_go(native_impl: ModuleType) -> None:
    pump = make_pump(native_impl)
    live: dict[str, int] = {}
    for number in range(600):
        name = f"{number * 7919 % 613}"
        if name in live:
            assert pump.detach(name)
            del live[name]
        else:
            pump.attach(name, KEY, number)
            live[name] = number
        if number % 3 == 0:
            gone = next(iter(live))
            assert pump.detach(gone)
            del live[gone]
    data = b"".join(text(chunk(str(n), sealed(b"x"))) for n in range(613))
    owners = [event[1] for event in pump.feed(data) if event[0] == EV_OPENED]
    assert sorted(owners) == sorted(live.values())


def test_pump_many_runs_and_many_events_in_one_feed(native_impl: ModuleType) -> None:
    names = [f"r{i}" for i in range(3 * EVENT_LIMIT)]
    pump = make_pump(native_impl, *names, template=TEMPLATE)
    data = b"".join(text(chunk(name, sealed(delta(b"x")))) + frame(9, name.encode()) for name in names)
    events = pump.feed(data)
    assert [event[2] for event in events if event[0] == EV_PING] == [name.encode() for name in names]
    assert [event[1] for event in events if event[0] == EV_RUN] == [name.upper() for name in names]
    assert pump.feed(b"".join(frame(10, b"") for _ in range(500))) == [(EV_PONG, None, b"", 0, 0)] * 500


def test_pump_close_and_fatal_come_after_runs_and_end_everything(native_impl: ModuleType) -> None:
    one = text(chunk("a", sealed(delta(b"x"))))
    for last, event in [
        (frame(8, b"\x03\xe9bye"), (EV_CLOSE, None, b"bye", 1001, 0)),
        (frame(8, b""), (EV_CLOSE, None, b"", 1005, 0)),
        (b"\x83\x80mask", (EV_FATAL, None, b"reserved opcode", 1002, 0)),
        (text(b"\xff"), (EV_FATAL, None, b"text is not UTF-8", 1007, 0)),
    ]:
        pump = make_pump(native_impl, "a", template=TEMPLATE)
        assert pump.feed(one + last + one) == [(EV_RUN, "A", spliced(b"x"), 1, 1), event]
        assert pump.feed(one) == []
        pump.attach("late", KEY, "LATE")
        assert pump.detach("a") is True


@pytest.mark.parametrize("code", [1012, 1013, 1014])
def test_pump_accepts_close_codes_registered_after_the_rfc(native_impl: ModuleType, code: int) -> None:
    assert make_pump(native_impl).feed(frame(8, code.to_bytes(2))) == [(EV_CLOSE, None, b"", code, 0)]


@pytest.mark.parametrize(
    "head",
    [
        b"\x82\xfe\x00\x7d",
        b"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff",
        b"\x82\xff\x80\x00\x00\x00\x00\x01\x00\x00",
    ],
)
def test_pump_accepts_a_length_in_one_form_only(native_impl: ModuleType, head: bytes) -> None:
    reason = b"length is not in its only valid form"
    assert make_pump(native_impl).feed(head + b"mask") == [(EV_FATAL, None, reason, 1002, 0)]


def test_pump_refuses_frames_without_a_mask(native_impl: ModuleType) -> None:
    data = native_impl.encode_frame(1, b"hello")
    assert make_pump(native_impl).feed(data) == [(EV_FATAL, None, b"frame is not masked", 1002, 0)]


def test_pump_close_method_wipes_and_ends(native_impl: ModuleType) -> None:
    pump = make_pump(native_impl, "a")
    pump.feed(text(b"x" * 50)[:20])
    pump.close()
    assert pump.feed(text(b"{}")) == []
    assert pump.detach("a") is False
    with pytest.raises(ValueError, match="The pump is closed"):
        pump.attach("b", KEY, "B")
    pump.close()


@pytest.mark.parametrize("limit", [125, 126, 1000, 65_536, 70_000])
def test_pump_size_limit_is_exact_and_judged_from_the_header(native_impl: ModuleType, limit: int) -> None:
    body = b"x" * limit
    too_big = (EV_FATAL, None, b"message is too big", 1009, 0)
    assert make_pump(native_impl, max_message_bytes=limit).feed(text(body)) == [(EV_MESSAGE, None, body, 1, 0)]
    header = text(body + b"x")[: -limit - 1]
    assert make_pump(native_impl, max_message_bytes=limit).feed(header) == [too_big]
    parts = frame(1, body[:100], fin=False) + frame(0, body[100:] + b"x")
    assert make_pump(native_impl, max_message_bytes=limit).feed(parts)[-1] == too_big
    parts = frame(1, body[:100], fin=False) + frame(9, b"z" * 125) + frame(0, body[100:])
    assert make_pump(native_impl, max_message_bytes=limit).feed(parts)[-1] == (EV_MESSAGE, None, body, 1, 0)


def test_pump_checks_its_limit(native_impl: ModuleType) -> None:
    for bad in (0, 124, (1 << 30) + 1):
        with pytest.raises(ValueError, match="max_message_bytes"):
            native_impl.Pump(max_message_bytes=bad)


def test_pump_reads_unmasked_input_for_a_client(native_impl: ModuleType) -> None:
    pump = native_impl.Pump(max_message_bytes=1000, masked_input=False)
    assert pump.feed(native_impl.encode_frame(1, b"hello")) == [(EV_MESSAGE, None, b"hello", 1, 0)]
    assert pump.feed(text(b"hello")) == [(EV_FATAL, None, b"frame is masked", 1002, 0)]


def test_pump_large_message_and_large_run(native_impl: ModuleType) -> None:
    pump = make_pump(native_impl, "a", template=TEMPLATE)
    word = b"y" * 400_000
    body = b" " * 900_000
    data = text(chunk("a", sealed(delta(word)))) + text(body) + text(chunk("a", sealed(word)))
    events = [event for at in range(0, len(data), 65_536) for event in pump.feed(data[at : at + 65_536])]
    assert events == [
        (EV_RUN, "A", spliced(word), 1, 400_000),
        (EV_MESSAGE, None, body, 1, 0),
        (EV_OPENED, "A", word, 0, 0),
    ]
