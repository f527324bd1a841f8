"""What a sealing writer hands on: one sealed event for each event, whatever pieces it got, and never plaintext."""

from __future__ import annotations

import itertools
import re

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from native import seal
from server.answer import MAX_WRITE_BYTES, AnswerAborted
from server.answer.writer import ConsumerGone
from server.sealed import KeyRing, key_from_mnemonic, stream
from server.sealed.envelope import open_envelope
from server.sealed.exchange import SealedExchange
from server.sealed.stream import EventForm, SealingWriter
from tests.testbed.sealed_client import MNEMONIC, SealedAsker

RING = KeyRing(key_from_mnemonic(MNEMONIC))


class Below:
    """Collects writes; `gone` refuses them."""

    direct = True
    spout = None
    idle = True
    closed = False

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.gone = False

    def write_now(self, data: bytes) -> bool:
        raise AssertionError("A sealing writer writes from its task.")

    async def drain(self) -> None:
        await trio.lowlevel.checkpoint()

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self.gone:
            raise ConsumerGone
        self.writes.append(data)

    @property
    def body(self) -> bytes:
        return b"".join(self.writes)


def exchange(asker: SealedAsker) -> SealedExchange:
    return open_envelope(asker.sealed(b"{}"), RING).exchange


EVENTS = [b'data: {"choices":[{"delta":{"content":"hi"}}]}', b": keep-alive", b"event: x\ndata: {}", b"data: [DONE]"]


def pieces_of(text: bytes, cuts: list[int]) -> list[bytes]:
    points = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(points)]


@given(cuts=st.lists(st.integers(0, 10_000), max_size=12), kinds=st.lists(st.sampled_from(EVENTS), max_size=8))
def test_any_pieces_give_one_sealed_event_for_each_event(cuts: list[int], kinds: list[bytes]) -> None:
    asker, below = SealedAsker(), Below()
    text = b"".join(event + b"\n\n" for event in kinds)

    async def run() -> None:
        writer = SealingWriter(below, exchange(asker))
        for piece in pieces_of(text, cuts):
            await writer.write(piece)
        await writer.finish()

    trio.run(run)
    assert (asker.open_events(below.body) if kinds else []) == kinds
    for event in kinds:
        assert event not in below.body


@pytest.mark.parametrize("cut", range(1, len(EVENTS[0]) + 2))
async def test_half_an_event_is_never_sent(cut: int) -> None:
    below = Below()
    writer = SealingWriter(below, exchange(SealedAsker()))
    await writer.write((EVENTS[0] + b"\n\n")[:cut])
    assert below.writes == []


async def test_a_rest_without_its_blank_line_is_a_last_event() -> None:
    asker, below = SealedAsker(), Below()
    writer = SealingWriter(below, exchange(asker))
    await writer.write(b"data: 1\n\ndata: 2")
    await writer.finish()
    assert asker.open_events(below.body) == [b"data: 1", b"data: 2"]


async def test_bytes_of_synchronous_writers_wait_for_the_drain() -> None:
    asker, below = SealedAsker(), Below()
    writer = SealingWriter(below, exchange(asker))
    assert writer.write_now(b"data: 1\n")
    assert not writer.write_now(b"\n")
    assert not writer.idle
    assert below.writes == []
    await writer.drain()
    assert asker.open_events(below.body) == [b"data: 1"]
    assert writer.idle


async def test_published_vectors_of_events(monkeypatch: pytest.MonkeyPatch) -> None:
    asker, below = SealedAsker(private=bytes(range(0x70, 0x90))), Below()
    nonces = [bytes(range(0x41, 0x59)), bytes(range(0x61, 0x79))]
    fixed = iter(nonces)
    monkeypatch.setattr(
        "server.sealed.exchange.seal_chunk", lambda text, shared: seal(text, shared.view(), next(fixed))
    )
    writer = SealingWriter(below, exchange(asker))
    await writer.write(EVENTS[0] + b"\n\n" + b"data: [DONE]\n\n")
    assert below.body == (
        b"data: QUJDREVGR0hJSktMTU5PUFFSU1RVVldYIwULkJmPThBbxmXs91J8daMGSlM7tyfCvb8MYjwe6MoRMrmK3bF2mrS6LZAh/Dhq0BpX"
        b"SFRM4HuAK7NTyL4=\n\n"
        b"data: YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4qtgARezuwtJjLuSTIDZa4HKMTC77nOzNOiZq7w==\n\n"
    )


async def test_a_large_event_leaves_in_bounded_writes() -> None:
    asker, below = SealedAsker(), Below()
    event = b"data: " + b"x" * 100_000
    await SealingWriter(below, exchange(asker)).write(event + b"\n\n")
    assert max(map(len, below.writes)) <= MAX_WRITE_BYTES
    assert asker.open_events(below.body) == [event]


async def test_an_event_without_end_breaks_the_answer_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_EVENT_BYTES", 100)
    below = Below()
    writer = SealingWriter(below, exchange(SealedAsker()))
    with pytest.raises(AnswerAborted):
        await writer.write(b"x" * 101)
    assert below.writes == []


async def test_a_consumer_that_left_is_reported() -> None:
    below = Below()
    below.gone = True
    with pytest.raises(ConsumerGone):
        await SealingWriter(below, exchange(SealedAsker())).write(b"data: 1\n\n")


@pytest.mark.parametrize("event", EVENTS)
async def test_padding_rounds_lengths_up_and_numbers_count(event: bytes) -> None:
    asker, below = SealedAsker(), Below()
    writer = SealingWriter(below, exchange(asker), EventForm(padded=True, numbered=True))
    await writer.write((event + b"\n\n") * 3)
    opened = asker.open_events(below.body)
    assert {len(one) % 32 for one in opened} == {0}
    for number, one in enumerate(opened):
        lines = one.split(b"\n")
        assert lines[0] == b": %d" % number
        assert re.fullmatch(rb": *", lines[-1])
        assert b"\n".join(lines[1:-1]) == event
