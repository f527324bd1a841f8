"""C and twin agree on random scripts, event by event, and no cut of the input changes what an attempt receives.

A script attaches, detaches, sets templates and gives spouts between segments of bytes; within a segment the bytes are
cut at random. What leaves through a spout counts as a run that went up.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from itertools import pairwise
from types import ModuleType
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from native import pure
from native.shapes import (
    EV_CLOSE,
    EV_FATAL,
    EV_MESSAGE,
    EV_PING,
    EV_PONG,
    EV_RUN,
    EV_STUCK,
    Event,
    SpliceTemplate,
)
from tests.unit.native.chunk_frames import IMPLEMENTATIONS, KEY, PEER, TEMPLATE, chunk, delta, sealed

CASES = 50_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 240
"""Of the first property; the other two have half as many each: 100,000 in the nightly profile."""

LIMIT = 2_000
IDS = ["a", "b", "c3f0-long-identifier-with-36-chars-000", "d/e"]
OTHER_KEY = bytes(range(32))

Step = bytes | tuple[str, str, Any]


# ---- scripts ----

_words = st.sampled_from(
    [
        b"Hi",
        rb"\n\"",
        rb"a\/b",
        "é🌍".encode(),
        rb"\u0007",
        b" the",
        b"x" * 300,
        rb"\u0041",
        b"",
        b"\xc3",
        b'"',
        b"\x01",
    ]
)
_plaintexts = (
    _words.map(delta)
    | st.builds(delta, _words, st.sampled_from([b"", b"\n", b"\r\n\r\n", b" "]))
    | st.sampled_from(
        [b"", b"data: [DONE]", b"data: {}\n\n", b"\xff\xfe", "data: ü".encode(), delta(b"1") + delta(b"2")]
    )
)
_names = st.sampled_from([*IDS, "stranger"])


@st.composite
def _chunks(draw: st.DrawFn) -> bytes:
    """A chunk message: mostly a good one, sometimes with one thing wrong."""
    name, ciphertext, key_text = draw(_names), sealed(draw(_plaintexts)), PEER
    fault = draw(st.integers(0, 40))
    if fault == 0:
        ciphertext = sealed(b"x", OTHER_KEY)
    elif fault == 1:
        ciphertext = ciphertext[: draw(st.integers(0, len(ciphertext)))]
    elif fault == 2:
        key_text = draw(st.sampled_from([b"", PEER[:-1], b"A" * 44]))
    elif fault == 3:
        at = draw(st.integers(0, len(ciphertext) - 1))
        ciphertext = ciphertext[:at] + draw(st.sampled_from([b"-", b"=", b"A", b"\xff", rb"\/"])) + ciphertext[at + 1 :]
    message = chunk(name, ciphertext, key_text)
    if draw(st.booleans()):
        message = message.replace(b"/", rb"\/")
    if fault == 4:
        message = message.replace(
            b"}}", draw(st.sampled_from([b'},"data":""} ', b'},"data":"x"}', b"}", b"}}x", b'},"a":1}']))
        )
    return message


_messages = st.sampled_from(
    [b'{"type":"heartbeat"}', b"", b"{}", "ä".encode(), b"x" * 126, b"y" * LIMIT, b"z" * (LIMIT - 1), b'{"type":"in']
)
_masks = st.sampled_from([b"\0\0\0\0", b"\x01\x02\x03\x04", b"\xff\x00\xff\x80"])
_controls = st.tuples(st.sampled_from([9, 10]), st.sampled_from([b"", b"p", b"q" * 125]))
_closes = st.sampled_from(
    [b"", b"\x03", b"\x03\xe8", b"\x03\xe8bye", b"\x03\xed", b"\x0b\xb8\xff", b"\xff\xff", b"\x03\xf7"]
)
_violations = st.sampled_from(
    [
        b"\xc1\x80abcd",
        b"\x83\x80abcd",
        b"\x8b\x80abcd",
        b"\x09\x80abcd",
        b"\x89\xfe\x00\x7eabcd",
        b"\x81\x01a",
        b"\x80\x80abcd",
        b"\x81\xfe\x00\x7dabcd",
        b"\x81\xff\x00\x00\x00\x00\x00\x00\xff\xffabcd",
        b"\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00abcd",
        b"\x81\xfe\xff\xffabcd",
        b"\x82\xff\x00\x00\x00\x01\x00\x00\x00\x00abcd",
        b"\x01\x80abcd\x81\x80abcd",
        b"\x88\x00",
        b"\x00",
    ]
)


@st.composite
def _data_frames(draw: st.DrawFn) -> bytes:
    """One message in one frame or several, perhaps with control frames in between."""
    opcode = draw(st.sampled_from([1, 1, 1, 2]))
    payload = draw(_chunks() | _chunks() | _chunks() | _messages | st.just(b"\xff"))
    cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3))) if draw(st.integers(0, 3)) == 0 else []
    bounds = [0, *cuts, len(payload)]
    out = bytearray()
    for index, (start, end) in enumerate(pairwise(bounds)):
        last = index == len(bounds) - 2
        out += pure.encode_frame(opcode if index == 0 else 0, payload[start:end], mask=draw(_masks), fin=last)
        if not last and draw(st.booleans()):
            kind, content = draw(_controls)
            out += pure.encode_frame(kind, content, mask=draw(_masks))
    return bytes(out)


_frames = st.one_of(
    _data_frames(),
    _data_frames(),
    _data_frames(),
    _data_frames(),
    _data_frames(),
    st.builds(lambda control, mask: pure.encode_frame(*control, mask=mask), _controls, _masks),
    st.builds(lambda mask, count: pure.encode_frame(9, b"", mask=mask) * count, _masks, st.integers(50, 140)),
)
_endings = st.one_of(
    st.builds(lambda payload, mask: pure.encode_frame(8, payload, mask=mask), _closes, _masks),
    _violations,
    st.binary(max_size=20),
    _frames.map(lambda data: data[: len(data) // 2]),
)
_templates = st.sampled_from(
    [TEMPLATE, TEMPLATE, None, SpliceTemplate(b"", b"", b"<", b">"), TEMPLATE._replace(out_prefix=b"", in_suffix=b"]}")]
)
_actions = st.one_of(
    st.tuples(st.just("attach"), st.sampled_from(IDS), st.sampled_from([False, False, False, True])),
    st.tuples(st.just("detach"), st.sampled_from(IDS), st.none()),
    st.tuples(st.just("template"), st.sampled_from([*IDS, "stranger"]), _templates),
    st.tuples(st.just("template"), st.sampled_from(IDS), st.just(TEMPLATE)),
    st.tuples(st.just("spout"), st.sampled_from([*IDS, "stranger"]), st.sampled_from(["open", "full", "shut", "none"])),
)


@st.composite
def scripts(draw: st.DrawFn) -> list[Step]:
    """Attached ids first, then segments of frames with actions between them, perhaps a violent end."""
    steps: list[Step] = [("attach", name, False) for name in draw(st.lists(st.sampled_from(IDS), unique=True))]
    steps += [("template", name, TEMPLATE) for _, name, _ in list(steps) if draw(st.booleans())]
    steps += [("spout", name, "open") for kind, name, _ in list(steps) if kind == "template" and draw(st.booleans())]
    for _ in range(draw(st.integers(1, 4))):
        steps.append(b"".join(draw(st.lists(_frames, max_size=8))))
        steps += draw(st.lists(_actions, max_size=3))
    if draw(st.booleans()):
        steps.append(draw(_endings) + draw(st.sampled_from([b"", pure.encode_frame(9, b"after", mask=b"abcd")])))
    return steps


# ---- running ----


class Wire:
    """One spout and the other end of its socket."""

    def __init__(self, module: ModuleType) -> None:
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)
        self._near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        self.spout = module.Spout(self._near.fileno())
        self.owner: object = None
        self._counted = (0, 0)
        self._filling = 0

    def fill(self) -> None:
        """Make the socket take nothing until the next `take`."""
        for size in (4096, 1):
            try:
                while True:
                    self._filling += self._near.send(b"#" * size)
            except BlockingIOError:
                pass

    def take(self) -> list[Event]:
        """What left since the last call as a run, without its framing; a rest is taken and the spout opened again."""
        data = bytearray()
        while True:
            try:
                data += self._far.recv(1 << 20)
            except BlockingIOError:
                break
        data, self._filling = data[self._filling :], 0
        if self.spout.stuck:
            data += self.spout.take_rest()
            self.spout.open()
        counted = (self.spout.deltas, self.spout.text_bytes)
        deltas, text_bytes = (after - before for after, before in zip(counted, self._counted, strict=True))
        self._counted = counted
        ready = bytearray()
        while data:
            size, _, behind = bytes(data).partition(b"\r\n")
            length = int(size, 16)
            assert size == b"%x" % length
            assert behind[length : length + 2] == b"\r\n"
            ready += behind[:length]
            data = bytearray(behind[length + 2 :])
        return [(EV_RUN, self.owner, bytes(ready), deltas, text_bytes)] if ready else []

    def close(self) -> None:
        """Close everything."""
        self.spout.close()
        self._near.close()
        self._far.close()


def play(
    module: ModuleType, steps: list[Step], cutter: Callable[[int], list[int]], *, raw: bool = False
) -> list[list[Event]]:
    """The events of every feed, what left through spouts first; `cutter(n)` says where a segment of n bytes is cut.

    With `raw` the stuck spouts are told too.
    """
    wires: dict[str, Wire] = {}
    try:
        return _play(module, steps, cutter, wires, raw=raw)
    finally:
        for wire in wires.values():
            wire.close()


def _play(
    module: ModuleType, steps: list[Step], cutter: Callable[[int], list[int]], wires: dict[str, Wire], *, raw: bool
) -> list[list[Event]]:
    owners: dict[str, object] = {}
    pump = module.Pump(max_message_bytes=LIMIT)
    pump.set_peer_key(PEER)
    serial = 0
    out: list[list[Event]] = []
    for step in steps:
        if isinstance(step, bytes):
            bounds = [0, *cutter(len(step)), len(step)]
            for start, end in pairwise(bounds):
                events = pump.feed(step[start:end])
                left = [event for wire in wires.values() for event in wire.take()]
                out.append(left + [event for event in events if raw or event[0] != EV_STUCK])
            continue
        action, name, value = step
        if action == "attach":
            try:
                pump.attach(name, KEY, f"{name}#{serial}", opaque=value)
                owners[name] = f"{name}#{serial}"
                serial += 1
            except ValueError:
                out.append([(0, name, b"refused", 0, 0)])
        elif action == "detach":
            out.append([(0, name, b"detached", int(pump.detach(name)), 0)])
        elif action == "spout":
            if name not in wires:
                wires[name] = Wire(module)
            wire = wires[name]
            wire.owner = owners.get(name)
            pump.set_spout(name, None if value == "none" else wire.spout)
            (wire.spout.shut if value == "shut" else wire.spout.open)()
            if value == "full":
                wire.fill()
        else:
            pump.set_template(name, value)
    pump.close()
    return out


def story(feeds: list[list[Event]]) -> list[object]:
    """What the contract fixes for every cut: per attempt its bytes and order, runs joined, between the messages."""
    told: list[object] = []
    attempts: dict[object, list[Event]] = {}
    for event in (event for feed in feeds for event in feed):
        kind, owner, payload, a, b = event
        if kind in (EV_MESSAGE, EV_CLOSE, EV_FATAL):
            told += [attempts, event]
            attempts = {}
        elif kind in (EV_PING, EV_PONG) or kind == 0:
            attempts.setdefault(None, []).append(event)
        else:
            own = attempts.setdefault(owner, [])
            if kind == EV_RUN and own and own[-1][0] == EV_RUN:
                _, _, before, deltas, text_bytes = own.pop()
                event = (EV_RUN, owner, before + payload, deltas + a, text_bytes + b)
            own.append(event)
    return [*told, attempts]


@st.composite
def _cutters(draw: st.DrawFn) -> Callable[[int], list[int]]:
    stride = draw(st.integers(1, 40)) if draw(st.booleans()) else draw(st.integers(40, 5_000))
    phase = draw(st.integers(0, stride - 1))
    return lambda size: list(range(phase, size, stride))


@settings(max_examples=CASES)
@given(steps=scripts(), cutter=_cutters())
def test_pumps_agree_on_every_event(steps: list[Step], cutter: Callable[[int], list[int]]) -> None:
    first, *others = [play(module, steps, cutter, raw=True) for module in IMPLEMENTATIONS]
    for other in others:
        assert other == first
    assert all(type(event) is tuple and type(event[2]) is bytes for feed in first for event in feed)


@settings(max_examples=CASES // 2)
@given(steps=scripts(), cutter=_cutters())
def test_no_cut_changes_the_story(steps: list[Step], cutter: Callable[[int], list[int]]) -> None:
    for module in IMPLEMENTATIONS:
        assert story(play(module, steps, cutter)) == story(play(module, steps, lambda size: []))


@settings(max_examples=CASES // 2)
@given(
    garbage=st.binary(max_size=200),
    head=st.sampled_from([b"", b"\x81", b"\x01\x80aaaa", b"\x81\xfe"]),
    cutter=_cutters(),
)
def test_garbage_is_the_same_garbage_for_both(garbage: bytes, head: bytes, cutter: Callable[[int], list[int]]) -> None:
    for data in (head + garbage, head + bytes(byte & 0x8F for byte in garbage[:2]) + garbage[2:]):
        first, *others = [play(module, [data], cutter) for module in IMPLEMENTATIONS]
        assert all(other == first for other in others)
