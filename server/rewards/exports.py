"""Exports that are as long as the history: page after page is read and written, one page in memory at a time.

Invariant: at most `MAX_AT_ONCE` exports run in one coordinator, so that they never take all connections for statistics.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import trio

from protocol.api.errors import ApiError
from server.answer import AnswerAborted, StreamingAnswer
from server.rewards.report_rows import PAGE_ROWS, Cursor
from server.rewards.tables import CONTENT_TYPES, Line, TableFormat, table_head, table_lines
from server.store.errors import StoreError

if TYPE_CHECKING:
    from server.answer import AnswerWriter

_log = logging.getLogger("darkbloom.rewards")

MAX_AT_ONCE: Final = 4
RETRY_SECONDS: Final = 5


class Placed(Protocol):
    """A row that knows where it stands."""

    @property
    def cursor(self) -> Cursor:
        """Where a page ends that ends here."""


R = TypeVar("R", bound=Placed)


class ExportDesk:
    """Bounds the exports that run; one per coordinator."""

    def __init__(self, *, at_once: int = MAX_AT_ONCE) -> None:
        self._slots = trio.CapacityLimiter(at_once)

    async def stream(
        self,
        read_page: Callable[[Cursor], Awaitable[Sequence[R]]],
        show: Callable[[R], Line],
        columns: Sequence[str],
        *,
        form: TableFormat,
        filename: str,
        start: Cursor,
    ) -> StreamingAnswer:
        """Answer with all pages from `start` on; `filename` goes without its ending.

        The first page is read before anything is sent, so that its errors become an answer of their own: StoreError,
        or ApiError 429 while too many exports run. A later error breaks the answer off, so that nobody takes a part for
        the whole.
        """
        if self._slots.available_tokens < 1:
            text = "Too many exports run at the moment; try again in a few seconds."
            raise ApiError(429, "rate_limit_exceeded", text, retry_after_seconds=RETRY_SECONDS)
        async with self._slots:
            first = await read_page(start)

        async def produce(writer: AnswerWriter) -> None:
            async with self._slots:
                page = first
                await writer.write(table_head(columns, form) + table_lines(map(show, page), columns, form))
                while len(page) == PAGE_ROWS:
                    page = await _next_page(read_page, page[-1].cursor)
                    if page:
                        await writer.write(table_lines(map(show, page), columns, form))

        return StreamingAnswer(produce, headers=download_headers(form, filename))


def download_headers(form: TableFormat, filename: str) -> dict[str, str]:
    """Give the headers of a file that a browser saves instead of showing."""
    return {
        "Content-Type": CONTENT_TYPES[form],
        "Content-Disposition": f'attachment; filename="{filename}.{form}"',
        "Cache-Control": "private, no-store",
        "X-Content-Type-Options": "nosniff",
    }


async def _next_page(read_page: Callable[[Cursor], Awaitable[Sequence[R]]], after: Cursor) -> Sequence[R]:
    try:
        return await read_page(after)
    except StoreError as error:
        _log.warning("export_broken_off", extra={"kind": type(error).__name__})
        raise AnswerAborted from error
