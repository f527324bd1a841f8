"""Orders over the socket of a home: asked by a blocking client in a thread, answered by a trio task."""

import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

import pytest
import trio

from provider.control import Answer, ControlFailed, Drain, Hello, Load, NotRunning, ask, socket_path
from provider.control.orders import MAX_LINE_BYTES
from provider.control.server import ControlPlaceRefused, serve_control


@pytest.fixture
async def listening(tmp_path, nursery):
    """A home with a socket that remembers orders."""
    seen = []

    async def handle(order):
        seen.append(order)
        if isinstance(order, Load):
            return Answer(done=False, pid=os.getpid(), error="No such model.")
        if isinstance(order, Drain) and order.force:
            raise ValueError("CANARY")
        return Answer(done=True, pid=os.getpid(), in_flight=3)

    await nursery.start(serve_control, socket_path(tmp_path), handle)
    return tmp_path, seen


async def asked(home, order, **more):
    with trio.fail_after(10):
        return await trio.to_thread.run_sync(lambda: ask(home, order, **more))


async def test_an_order_gets_its_answer(listening):
    home, seen = listening
    answer = await asked(home, Drain(force=False))
    assert (answer.done, answer.pid, answer.in_flight) == (True, os.getpid(), 3)
    refused = await asked(home, Load(model="x"))
    assert (refused.done, refused.error) == (False, "No such model.")
    assert seen == [Drain(force=False), Load(model="x")]


async def test_only_the_owner_can_open_the_socket(listening):
    home, _seen = listening
    assert stat.S_IMODE(socket_path(home).stat().st_mode) == 0o600


async def test_a_crash_of_the_handler_harms_nobody_else(listening):
    home, _seen = listening
    with pytest.raises(ControlFailed, match="ended without an answer"):
        await asked(home, Drain(force=True))
    assert (await asked(home, Hello())).done


@pytest.mark.parametrize("line", [b"\n", b"nonsense\n", b'{"order":"reboot"}\n', b"x" * (MAX_LINE_BYTES + 10)])
async def test_nonsense_is_answered_and_harms_nobody(listening, line):
    home, seen = listening

    def send():
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(socket_path(home)))
            connection.sendall(line)
            connection.shutdown(socket.SHUT_WR)
            return connection.recv(4096)

    assert b'"done":false' in await trio.to_thread.run_sync(send)
    assert seen == []
    assert (await asked(home, Hello())).done


async def test_without_a_daemon_it_is_said(tmp_path):
    with pytest.raises(NotRunning):
        await asked(tmp_path, Hello())


async def test_a_socket_that_a_killed_daemon_left_behind_is_replaced(tmp_path, nursery):
    path = socket_path(tmp_path)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(NotRunning):
        await asked(tmp_path, Hello())

    async def handle(order):
        return Answer(done=True, pid=1)

    await nursery.start(serve_control, path, handle)
    assert (await asked(tmp_path, Hello())).done


async def test_the_socket_goes_with_its_task(tmp_path):
    async def handle(order):
        return Answer(done=True, pid=1)

    async with trio.open_nursery() as own:
        await own.start(serve_control, socket_path(tmp_path), handle)
        own.cancel_scope.cancel()
    assert not socket_path(tmp_path).exists()


@pytest.mark.parametrize("deep", [False, True], ids=["temporary-short", "temporary-long"])
async def test_a_home_with_a_long_name_gets_a_short_private_place(tmp_path, nursery, monkeypatch, deep):
    home = tmp_path / ("x" * 120)
    home.mkdir()
    if deep:
        monkeypatch.setattr(tempfile, "tempdir", str(home))
    path = socket_path(home)
    assert home not in path.parents
    assert len(os.fsencode(path)) <= 100
    assert path != socket_path(tmp_path / ("y" * 120))

    async def handle(order):
        return Answer(done=True, pid=1)

    await nursery.start(serve_control, path, handle)
    assert (await asked(home, Hello())).done
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_place_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    async with trio.open_nursery() as own:
        with pytest.raises(ControlPlaceRefused, match=r"cannot be made|is not this user's"):
            await own.start(serve_control, tmp_path / "file" / "control.sock", None)


@pytest.mark.parametrize("is_link", [False, True], ids=["of another user", "link"])
async def test_nothing_is_asked_of_a_place_that_another_user_made(tmp_path, monkeypatch, is_link):
    home = tmp_path / ("x" * 120)
    home.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(home))
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setattr("provider.control.place.SHORT_DIRECTORY", place)
    if not is_link:
        owner = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    path = socket_path(home)
    if is_link:
        (place / "elsewhere").mkdir()
        path.parent.symlink_to(place / "elsewhere")
    else:
        path.parent.mkdir()
    try:
        with socket.socket(socket.AF_UNIX) as trap:
            trap.bind(str(path))
            trap.listen()
            trap.setblocking(False)
            with pytest.raises(ControlFailed, match="not this user's"):
                await asked(home, Load(model="m"))
            with pytest.raises(BlockingIOError):
                trap.accept()
    finally:
        shutil.rmtree(place)
