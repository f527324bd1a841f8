"""Spouts leave the last quarter of the descriptors to everything else."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator

import pytest

from server.answer.open_spout import open_spout


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    near, far = socket.socketpair()
    with near, far:
        yield near


def lowest_free(sock: socket.socket) -> int:
    found = os.dup(sock.fileno())
    os.close(found)
    return found


def test_spouts_stop_at_three_quarters_and_begin_again(sock: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = 3
    limit = (lowest_free(sock) + allowed) * 4 // 3
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (limit, limit))
    spouts = [open_spout(sock) for _ in range(allowed + 5)]
    opened = [spout for spout in spouts if spout is not None]
    assert 1 <= len(opened) <= allowed + 1
    assert lowest_free(sock) >= limit - limit // 4
    assert spouts[len(opened) :] == [None] * (allowed + 5 - len(opened))
    opened[0].close()
    assert open_spout(sock) is not None


def test_no_limit_stops_nothing(sock: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _which: infinite)
    assert open_spout(sock) is not None


def test_a_closed_socket_gets_none(sock: socket.socket) -> None:
    sock.close()
    assert open_spout(sock) is None
