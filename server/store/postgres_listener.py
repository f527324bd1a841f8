"""Listening to a channel of PostgreSQL: one connection of its own, made again whenever it breaks.

Invariant: every notification since the last call of `missed` was handed to `heard`, in order; when that cannot be said
any more, because the connection broke or too many came at once, `missed` is called again.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn, TypeAlias

import trio

from server.store.deadline import ConnectionLost, TryAgain, within
from server.store.errors import StoreError
from server.store.postgres import Notices, PostgresConnection

_log = logging.getLogger("darkbloom.store")

PROBE_SECONDS: Final = 10.0
"""A connection that a firewall forgot looks like one without news: it is asked when nothing came for so long."""

FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 5.0
HEALTHY_SECONDS: Final = 30.0
_ANSWER_SECONDS: Final = 5.0

Connect: TypeAlias = Callable[[], Awaitable[PostgresConnection]]


async def listen_forever(
    connect: Connect, channel: str, heard: Callable[[str], None], missed: Callable[[], None]
) -> NoReturn:
    """Hand the payloads of a channel to `heard`; call `missed` each time when listening begins, and after a gap.

    Connections are tried again after 0.1 s, doubling to 5 s, ± 20 %; one that lasted for 30 s starts the row anew.
    Returns never; raises what `heard` and `missed` raise.
    """
    pause = FIRST_PAUSE_SECONDS
    while True:
        began = trio.current_time()
        try:
            await _listen_once(connect, channel, heard, missed)
        except (ConnectionLost, TryAgain, StoreError) as loss:
            _log.warning("the database's notifications are not heard", extra={"channel": channel, "why": str(loss)})
        if trio.current_time() - began >= HEALTHY_SECONDS:
            pause = FIRST_PAUSE_SECONDS
        await trio.sleep(pause * random.uniform(0.8, 1.2))
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


async def _listen_once(
    connect: Connect, channel: str, heard: Callable[[str], None], missed: Callable[[], None]
) -> NoReturn:
    connection = await connect()
    try:
        notices = await within(
            _ANSWER_SECONDS, connection.listen, channel, shielded=False, what="listening to a channel"
        )
        # What was told before the server took note of the listener reached nobody.
        missed()
        while True:
            payload = await _next(connection, notices)
            if notices.take_overflow():
                missed()
            if payload is not None:
                heard(payload)
    finally:
        await connection.close()


async def _next(connection: PostgresConnection, notices: Notices) -> str | None:
    """Give the next payload; None when there was none for a while and the server still answers."""
    with trio.move_on_after(PROBE_SECONDS):
        return await notices.receive()
    await within(_ANSWER_SECONDS, connection.fetch, "SELECT 1", (), shielded=False, what="a probe of the listener")
    return None
