"""What only the C pump promises: an idle pump is small, and memory that grew is given back."""

from __future__ import annotations

import pytest

from tests.unit.native.chunk_frames import KEY, PEER, TEMPLATE, chunk, delta, frame, sealed, text

speed = pytest.importorskip("native.speed", reason="the extension is not built")


def test_idle_pump_holds_less_than_2_kib() -> None:
    pump = speed.Pump(max_message_bytes=10 << 20)
    pump.set_peer_key(PEER)
    assert pump.memory_bytes() < 1024
    pump.feed(text(b'{"type":"heartbeat","padding":"' + b"x" * 100_000 + b'"}') + frame(9, b"ping"))
    assert pump.memory_bytes() < 1024
    pump.attach("a", KEY, "A")
    pump.set_template("a", TEMPLATE)
    pump.feed(text(chunk("a", sealed(delta(b"x")))))
    assert pump.memory_bytes() < 16_384
    pump.detach("a")
    assert pump.memory_bytes() < 1024


def test_busy_pump_gives_large_buffers_back() -> None:
    pump = speed.Pump(max_message_bytes=10 << 20)
    pump.set_peer_key(PEER)
    pump.attach("a", KEY, "A")
    pump.set_template("a", TEMPLATE)
    pump.feed(text(b" " * 5_000_000) + text(chunk("a", sealed(delta(b"x" * 2_000_000)))))
    pump.feed(frame(9, b""))
    assert pump.memory_bytes() < 16_384


def test_announced_length_allocates_nothing() -> None:
    pump = speed.Pump(max_message_bytes=10 << 20)
    pump.feed(text(b" " * 9_000_000)[:1000])
    assert pump.memory_bytes() < 2048
    pump.close()
    assert pump.memory_bytes() < 1024
