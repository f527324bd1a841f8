"""The spout by example: what leaves through it, what goes up instead, and whose descriptor it is; on both twins."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from native.shapes import (
    EV_MESSAGE,
    EV_OPENED,
    EV_PING,
    EV_RUN,
    EV_STUCK,
    EVENT_LIMIT,
    MAX_WRITE_BYTES,
)
from tests.unit.native.chunk_frames import KEY, PEER, TEMPLATE, chunk, delta, frame, sealed, spliced, text


class Site:
    """A pump with the attempts a and b, and a spout of a whose other end can be read."""

    def __init__(self, module: ModuleType) -> None:
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.far.setblocking(False)
        self.spout = module.Spout(self.near.fileno())
        self.pump = module.Pump(max_message_bytes=1 << 20)
        self.pump.set_peer_key(PEER)
        for name in ("a", "b"):
            self.pump.attach(name, KEY, name.upper())
            self.pump.set_template(name, TEMPLATE)
        self.pump.set_spout("a", self.spout)
        self.spout.open()

    def read(self) -> bytes:
        """What has left so far and was not read yet."""
        data = bytearray()
        while True:
            try:
                part = self.far.recv(1 << 20)
            except BlockingIOError:
                return bytes(data)
            if not part:
                return bytes(data)
            data += part

    def fill(self) -> None:
        """Make the socket take nothing more."""
        for size in (65536, 1):
            try:
                while True:
                    self.near.send(b"#" * size)
            except BlockingIOError:
                pass


@pytest.fixture
def site(native_impl: ModuleType) -> Iterator[Site]:
    made = Site(native_impl)
    yield made
    made.spout.close()
    made.near.close()
    made.far.close()


def said(word: bytes, name: str = "a") -> bytes:
    return text(chunk(name, sealed(delta(word))))


def up(*words: bytes, name: str = "A") -> Any:
    ready = b"".join(map(spliced, words))
    return (EV_RUN, name, ready, len(words), sum(map(len, words)))


def framed(*words: bytes) -> bytes:
    ready = b"".join(map(spliced, words))
    return b"%x\r\n%b\r\n" % (len(ready), ready)


def test_a_run_leaves_as_one_chunk_and_is_counted_not_told(site: Site) -> None:
    assert site.pump.feed(said(b"Hi") + said(b" there"), 7.5) == []
    assert site.read() == framed(b"Hi", b" there")
    assert (site.spout.deltas, site.spout.text_bytes, site.spout.written_at) == (2, 8, 7.5)
    assert site.spout.sent_bytes == len(framed(b"Hi", b" there"))
    assert not site.spout.stuck


def test_other_attempts_still_go_up(site: Site) -> None:
    assert site.pump.feed(said(b"1") + said(b"2", "b") + said(b"3")) == [up(b"2", name="B")]
    assert site.read() == framed(b"1", b"3")


def test_a_shut_or_removed_or_closed_spout_lets_nothing_pass(site: Site) -> None:
    site.spout.shut()
    assert site.pump.feed(said(b"1")) == [up(b"1")]
    site.spout.open()
    assert site.pump.feed(said(b"2")) == []
    site.pump.set_spout("a", None)
    assert site.pump.feed(said(b"3")) == [up(b"3")]
    site.pump.set_spout("a", site.spout)
    site.spout.close()
    site.spout.open()
    assert site.pump.feed(said(b"4")) == [up(b"4")]
    assert site.read() == framed(b"2")
    assert site.spout.deltas == 1


def test_an_unknown_or_spent_id_takes_no_spout(site: Site) -> None:
    site.pump.set_spout("nobody", site.spout)
    site.pump.set_spout("nobody", None)
    site.pump.feed(text(chunk("a", b"!!!!")))
    site.pump.set_spout("a", site.spout)
    assert site.pump.feed(said(b"1")) == [(EV_MESSAGE, None, chunk("a", sealed(delta(b"1"))), 1, 0)]
    assert site.read() == b""


def test_a_run_leaves_before_another_event_of_its_attempt_and_never_overtakes_one(site: Site) -> None:
    other = text(chunk("a", sealed(b"data: other")))
    assert site.pump.feed(said(b"1") + other + said(b"2")) == [(EV_OPENED, "A", b"data: other", 0, 0), up(b"2")]
    assert site.read() == framed(b"1")
    assert site.pump.feed(said(b"3")) == []
    assert site.read() == framed(b"3")


def test_a_run_leaves_before_a_message_and_never_overtakes_one(site: Site) -> None:
    events = site.pump.feed(said(b"1") + text(b"{}") + said(b"2") + frame(9, b"p"))
    assert events == [(EV_MESSAGE, None, b"{}", 1, 0), (EV_PING, None, b"p", 0, 0), up(b"2")]
    assert site.read() == framed(b"1")
    assert site.pump.feed(said(b"3") + frame(9, b"q")) == [(EV_PING, None, b"q", 0, 0)]
    assert site.read() == framed(b"3")


def test_a_run_never_overtakes_an_event_of_an_earlier_pass_of_the_same_feed(site: Site) -> None:
    other = text(chunk("a", sealed(b"data: other")))
    events = site.pump.feed(other + frame(9, b"p") * (EVENT_LIMIT + 5) + said(b"1"))
    assert events[0] == (EV_OPENED, "A", b"data: other", 0, 0)
    assert events[-1] == up(b"1")
    assert len(events) == EVENT_LIMIT + 7
    assert site.read() == b""


def test_a_long_run_goes_up(site: Site) -> None:
    room = MAX_WRITE_BYTES - len(spliced(b""))
    assert site.pump.feed(said(b"x" * room)) == []
    assert site.read() == framed(b"x" * room)
    assert site.pump.feed(said(b"x" * (room + 1))) == [up(b"x" * (room + 1))]
    assert site.read() == b""


def test_a_full_socket_leaves_a_rest_that_nothing_overtakes(site: Site) -> None:
    site.fill()
    assert site.pump.feed(said(b"1"), 3.0) == [(EV_STUCK, "A", b"", 0, 0)]
    assert site.spout.stuck
    assert (site.spout.deltas, site.spout.sent_bytes, site.spout.written_at) == (1, 0, 3.0)
    site.read()
    site.spout.open()
    assert site.pump.feed(said(b"2")) == [up(b"2")]
    assert site.spout.take_rest() == framed(b"1")
    assert site.spout.take_rest() == b""
    assert not site.spout.stuck
    assert site.pump.feed(said(b"3")) == []
    assert site.read() == framed(b"3")


def test_a_run_behind_a_stuck_one_in_the_same_feed_goes_up(site: Site) -> None:
    site.fill()
    others = b"".join(text(chunk("a", sealed(plain))) for plain in (delta(b"1"), b"data: x", delta(b"2")))
    assert site.pump.feed(others) == [(EV_STUCK, "A", b"", 0, 0), (EV_OPENED, "A", b"data: x", 0, 0), up(b"2")]


def test_part_of_a_run_leaves_and_the_rest_is_kept(native_impl: ModuleType) -> None:
    site = Site(native_impl)
    site.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    site.spout.close()
    tcp = socket.create_server(("127.0.0.1", 0))
    with tcp, socket.create_connection(tcp.getsockname()) as far:
        near, _ = tcp.accept()
        with near:
            near.setblocking(False)
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            spout = native_impl.Spout(near.fileno())
            site.pump.set_spout("a", spout)
            word, sent = b"y" * 12_000, 0
            while not spout.stuck:
                spout.open()
                sent += 1
                events = site.pump.feed(said(word))
            rest = spout.take_rest()
            assert events == [(EV_STUCK, "A", b"", 0, 0)]
            assert 0 < spout.sent_bytes == sent * len(framed(word)) - len(rest)
            got, wanted = bytearray(), spout.sent_bytes
            while len(got) < wanted:
                got += far.recv(65536)
            assert bytes(got) + rest == framed(word) * sent
            spout.close()
    site.near.close()
    site.far.close()


def test_a_broken_socket_is_a_rest_and_no_signal(site: Site) -> None:
    site.far.close()
    assert site.pump.feed(said(b"1")) == [(EV_STUCK, "A", b"", 0, 0)]
    assert site.spout.take_rest() == framed(b"1")


def test_the_descriptor_is_the_spouts_own(site: Site) -> None:
    number = site.near.fileno()
    site.near.close()
    stranger, other = socket.socketpair()
    with stranger, other:
        assert stranger.fileno() == number, "the freed number is the next one that the system gives"
        assert site.pump.feed(said(b"1")) == []
        assert site.read() == framed(b"1")
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(1)


def test_close_gives_the_descriptor_back_and_drops_the_rest(site: Site) -> None:
    site.fill()
    site.pump.feed(said(b"1"))
    site.spout.close()
    site.spout.close()
    assert not site.spout.stuck
    assert site.spout.take_rest() == b""
    site.near.close()
    site.far.settimeout(5)
    while site.far.recv(65536):
        pass  # the end comes only when the last holder of the socket closed it


def test_a_forgotten_spout_gives_its_descriptor_back(native_impl: ModuleType) -> None:
    near, far = socket.socketpair()
    with far:
        spout = native_impl.Spout(near.fileno())
        near.close()
        far.setblocking(False)
        with pytest.raises(BlockingIOError):
            far.recv(1)
        del spout
        gc.collect()
        assert far.recv(1) == b""


def test_the_pump_keeps_its_spouts_alive(native_impl: ModuleType) -> None:
    site = Site(native_impl)
    del site.spout
    gc.collect()
    assert site.pump.feed(said(b"1")) == []
    assert site.read() == framed(b"1")
    site.pump.detach("a")
    site.near.close()
    gc.collect()
    assert site.far.recv(1) == b""
    site.far.close()


def test_a_closed_pump_lets_go_of_its_spouts(native_impl: ModuleType) -> None:
    site = Site(native_impl)
    site.pump.close()
    del site.spout
    gc.collect()
    site.near.close()
    assert site.far.recv(1) == b""
    site.far.close()


def test_a_spout_is_not_inherited(native_impl: ModuleType) -> None:
    near, far = socket.socketpair()
    with near, far:
        before = {fd for fd in range(256) if _is_open(fd)}
        spout = native_impl.Spout(near.fileno())
        (own,) = {fd for fd in range(256) if _is_open(fd)} - before
        assert own > 2
        assert not os.get_inheritable(own)
        spout.close()
        assert not _is_open(own)


def test_no_descriptor_is_an_error_that_names_the_remedy(native_impl: ModuleType) -> None:
    with pytest.raises(OSError, match=r"The descriptor -1 cannot be duplicated: raise the limit of open files"):
        native_impl.Spout(-1)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
