"""Reading one request head from a connection, within its size and its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from server.listener.head import MAX_HEAD_BYTES, HeadRefused, RequestHead, find_head_end, parse_head, skip_blank_lines

if TYPE_CHECKING:
    from server.listener.connection import Connection


async def read_head(connection: Connection, *, wait_seconds: float, head_seconds: float) -> RequestHead | None:
    """Read the next head; bytes behind it stay in the connection's buffer.

    Returns None when no request came within `wait_seconds`, when the wait was interrupted, or when the peer left.
    Raises HeadRefused with 408 when a started head is not complete within `head_seconds`, 431 when it passes 16 KiB,
    and what parse_head raises.
    """
    skip_blank_lines(connection.buffer)
    if not connection.buffer and not await _wait_for_bytes(connection, wait_seconds):
        return None
    deadline = None
    searched = 0
    while (end := find_head_end(connection.buffer, searched)) is None:
        searched = len(connection.buffer)
        if searched >= MAX_HEAD_BYTES:
            break
        if deadline is None:
            deadline = trio.current_time() + head_seconds
        arrived = await connection.receive_until(deadline)
        if arrived is False:
            return None
        if arrived is None and trio.current_time() >= deadline:
            raise HeadRefused(408, f"The request head was not complete within {head_seconds:g} s; send it at once.")
    if end is None or end > MAX_HEAD_BYTES:
        raise HeadRefused(431, f"The request head is larger than {MAX_HEAD_BYTES} bytes; send fewer headers.")
    raw = bytes(connection.buffer[:end])
    del connection.buffer[:end]
    return parse_head(raw)


async def _wait_for_bytes(connection: Connection, seconds: float) -> bool:
    """Wait for more than blank lines; False when nothing came in time, after an interruption, or at the peer's end."""
    deadline = trio.current_time() + seconds
    while not connection.buffer:
        if not await connection.receive_until(deadline):
            return False
        skip_blank_lines(connection.buffer)
    return True
