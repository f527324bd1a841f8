"""What a first operator is told at the start, and that it works: a command, and on a terminal a request to send."""

from __future__ import annotations

import io
import itertools
import json
import logging
import shlex
from typing import Any

import pytest

from protocol.settings import Secret
from server.accounts.first_admin import CREATE
from server.accounts.local_login import LocalLogin
from server.accounts.passwords import PasswordHasher
from server.config import CoordinatorSettings
from server.serve.first_steps import first_step, tell_first_steps
from server.store import Store
from tests.testbed.flaky_store import FlakyStore
from tests.unit.server.accounts.people import START, add_user
from tests.unit.server.serve.conftest import OpenCoordinator, ask

URL = "http://127.0.0.1:8080"


def local(store: Store) -> LocalLogin:
    return LocalLogin(store, hasher=PasswordHasher(log_n=4), sign_up="closed", wall_clock=lambda: START * 1_000_000)


async def told(store: Store, caplog: pytest.LogCaptureFixture, *, seen: bool = True, **changes: Any) -> tuple[str, str]:
    """What stands in the log, and on the terminal."""
    terminal = io.StringIO()
    with caplog.at_level(logging.INFO, "darkbloom.serve"):
        await tell_first_steps(
            store,
            local(store),
            CoordinatorSettings(**changes),
            url=URL,
            throwaway=False,
            terminal=terminal if seen else None,
        )
    return caplog.text, terminal.getvalue()


def as_request(command: str) -> bytes:
    """What curl sends for a command line."""
    words = shlex.split(command)
    headers = [value for option, value in itertools.pairwise(words) if option == "-H"]
    body = words[-1].encode()
    head = ["POST /auth/signup HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


async def test_on_an_empty_database_it_says_how_to_begin(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    log, shown = await told(store, caplog)
    assert f"nobody has an account here yet: {first_step(store.kind, throwaway=False)}" in log
    assert CREATE in log
    assert ("stop the coordinator" in log) is (store.kind == "sqlite")
    assert f"curl {URL}/auth/signup" in shown
    token = json.loads(shlex.split(shown.partition("  curl")[2])[-1])["setup"]
    assert len(token) == 64
    assert token not in log


async def test_without_a_terminal_there_is_no_token(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    log, shown = await told(store, caplog, seen=False)
    assert "nobody has an account here yet" in log
    assert shown == ""
    assert await store.read(lambda tx: tx.value("SELECT COUNT(*) FROM setup_tokens")) == 0


async def test_whoever_can_get_in_is_told_nothing(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    assert await told(store, caplog, api_keys=(Secret("sk-db-x"),)) == ("", "")
    await add_user(store)
    assert await told(store, caplog) == ("", "")


async def test_a_database_that_is_away_stops_nothing(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    away = FlakyStore(store)
    away.down = True
    assert await told(away, caplog) == ("", "")


async def test_the_request_on_the_terminal_makes_an_administrator(
    running: OpenCoordinator,
) -> None:
    terminal = io.StringIO()
    async with running() as (coordinator, port):
        books = coordinator.books
        await tell_first_steps(
            books.store,
            books.accounts.local,
            CoordinatorSettings(),
            url=f"http://127.0.0.1:{port}",
            throwaway=True,
            terminal=terminal,
        )
        command = terminal.getvalue().partition("\n  ")[2].replace("NAME", "ada").replace("PASSWORD", "correct horse")
        request = as_request(command)
        assert (await ask(port, request))[0] == 204
        assert b"This setup link has been used." in (await ask(port, request))[2]
