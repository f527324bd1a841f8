"""A sealed body is recognised for as long as the window lasts, and memory stays bounded."""

from __future__ import annotations

from server.sealed.replay import ReplayWindow


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_mark_is_new_once_within_the_window() -> None:
    clock = Clock()
    window = ReplayWindow(60, clock=clock)
    assert window.is_new(b"a")
    assert not window.is_new(b"a")
    clock.now += 59.9
    assert not window.is_new(b"a")
    assert window.is_new(b"b")
    clock.now += 0.1
    assert window.is_new(b"a")
    assert len(window) == 2


def test_without_a_window_nothing_is_remembered() -> None:
    window = ReplayWindow(0, clock=Clock())
    assert window.is_new(b"a")
    assert window.is_new(b"a")
    assert len(window) == 0


def test_the_oldest_makes_room() -> None:
    window = ReplayWindow(60, clock=Clock(), most=3)
    for mark in (b"a", b"b", b"c", b"d"):
        assert window.is_new(mark)
    assert len(window) == 3
    assert not window.is_new(b"b")
    assert window.is_new(b"a")
