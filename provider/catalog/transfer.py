"""Fetching one file from a download server, in ranges, again and again until it is whole and right.

Source: provider rules, download algorithm.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Final

import httpx
import trio

from provider.catalog.failures import DownloadFailed
from provider.catalog.http import consume
from provider.catalog.limits import DownloadLimits
from provider.catalog.staging import FULL_DISK, Piece, StagedFile

HASH_TRIES: Final = 2
PROGRESS_BYTES: Final = 64 * 1024
"""A try that brought at least this much does not count against the retries."""

_HOPELESS: Final = frozenset({400, 401, 403, 404, 405, 410, 451})

Pace = Callable[[], Awaitable[None]]


class _TryAgain(Exception):
    """This try failed in a way that may pass; `after` seconds were asked for, 0 if none."""

    def __init__(self, why: str, after: float = 0.0) -> None:
        super().__init__(why)
        self.after = after


class _NoRanges(Exception):
    """The server sends whole files only."""


class _StartOver(Exception):
    """The server says that our range lies outside of its file."""


class FileTransfer:
    """One file. `on_bytes` hears how many bytes arrived, negative when some are thrown away; `pace` may hold it up."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        staged: StagedFile,
        limits: DownloadLimits,
        *,
        on_bytes: Callable[[int], None],
        pace: Pace,
        disk: trio.CapacityLimiter,
        random: Random,
    ) -> None:
        self._client = client
        self._url = url
        self._staged = staged
        self._limits = limits
        self._on_bytes = on_bytes
        self._pace = pace
        self._disk = disk
        self._random = random

    async def run(self) -> None:
        """Fetch and verify; raises `DownloadFailed`. When cancelled, what has arrived stays."""
        staged = self._staged
        try:
            for _ in range(HASH_TRIES):
                await self._fetch_all()
                before = staged.done
                if await trio.to_thread.run_sync(staged.finish, limiter=self._disk):
                    return
                self._on_bytes(-before)
        except OSError as error:
            raise _disk_failure(error, staged) from None
        finally:
            staged.close()
        raise DownloadFailed(
            f"The file {staged.file.path} of the download server has the wrong content, twice; tell its publisher."
        )

    async def _fetch_all(self) -> None:
        """Fetch the missing parts of all pieces, with one new beginning if the server has no ranges or refuses ours."""
        staged = self._staged
        for is_last in (False, True):
            await trio.to_thread.run_sync(staged.open, limiter=self._disk)
            try:
                await self._fetch_pieces()
            except (_NoRanges, _StartOver) as refused:
                if is_last:
                    raise DownloadFailed(f"The download server does not give out {staged.file.path} rightly.") from None
                self._on_bytes(-staged.done)
                staged.restart(in_one=isinstance(refused, _NoRanges))
            else:
                return

    async def _fetch_pieces(self) -> None:
        limiter = trio.CapacityLimiter(self._limits.pieces_at_once)
        try:
            async with trio.open_nursery() as nursery:
                for piece in self._staged.pieces:
                    if not piece.is_complete:
                        await limiter.acquire_on_behalf_of(piece)
                        nursery.start_soon(self._fetch_piece, piece, limiter)
        except BaseExceptionGroup as group:
            raise first_failure(group, _NoRanges, _StartOver, OSError) from None

    async def _fetch_piece(self, piece: Piece, limiter: trio.CapacityLimiter) -> None:
        try:
            failures = 0
            while not piece.is_complete:
                before = piece.done
                try:
                    await self._stream(piece)
                except _TryAgain as failed:
                    if piece.done - before >= PROGRESS_BYTES:
                        failures = 0
                    if failures >= len(self._limits.retry_seconds):
                        raise DownloadFailed(
                            f"{self._staged.file.path} cannot be fetched ({failed}); run the same command to go on."
                        ) from None
                    await trio.sleep(self._wait(failures, failed.after))
                    failures += 1
        finally:
            limiter.release_on_behalf_of(piece)

    def _wait(self, failures: int, asked: float) -> float:
        pause = self._limits.retry_seconds[failures] * self._random.uniform(0.5, 1.0)
        return max(pause, min(asked, self._limits.longest_retry_after))

    async def _stream(self, piece: Piece) -> None:
        """Ask for what is missing of a piece and write it as it comes; what was read is kept whatever happens."""
        start, end = piece.offset + piece.done, piece.offset + piece.length
        buffer = bytearray()

        async def take(data: bytes) -> bool:
            buffer.extend(data)
            if len(buffer) >= self._limits.write_bytes:
                await self._keep(piece, buffer)
                if not piece.is_complete:
                    await self._pace()
            return not piece.is_complete

        try:
            asked = self._client.stream("GET", self._url, headers={"Range": f"bytes={start}-{end - 1}"})
            async with asked as answer:
                self._judge(answer, piece, start)
                await consume(answer, take)
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _TryAgain(type(error).__name__) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DownloadFailed(
                f"{self._staged.file.path} cannot be fetched ({type(error).__name__}); check the download server."
            ) from None
        finally:
            with self._counted(piece):
                self._put(piece, buffer)
        if not piece.is_complete:
            raise _TryAgain("the answer ended early")

    def _judge(self, answer: httpx.Response, piece: Piece, start: int) -> None:
        status, size = answer.status_code, self._staged.file.size_bytes
        if status == 206:
            first, total = _content_range(answer.headers.get("content-range", ""))
            if total is not None and total != size:
                raise self._wrong_size(total)
            if first != start:
                raise _TryAgain("the answer is another range")
            return
        if status == 200:
            if start > 0 or len(self._staged.pieces) > 1:
                raise _NoRanges
            stated = answer.headers.get("content-length", "")
            if stated.isascii() and stated.isdigit() and int(stated) != size:
                raise self._wrong_size(int(stated))
            return
        if status == 416:
            raise _StartOver
        if status in _HOPELESS:
            raise DownloadFailed(
                f"The download server answers {status} for {self._staged.file.path}; tell the model's publisher."
            )
        raise _TryAgain(f"status {status}", _retry_after(answer.headers.get("retry-after", "")))

    def _wrong_size(self, found: int) -> DownloadFailed:
        file = self._staged.file
        return DownloadFailed(
            f"The file {file.path} has {found} bytes on the download server, but {file.size_bytes} in the manifest; "
            "tell the model's publisher."
        )

    async def _keep(self, piece: Piece, buffer: bytearray) -> None:
        """Write on a worker thread and wait for it, cancelled or not, so that nobody else writes meanwhile."""
        with self._counted(piece):
            await trio.to_thread.run_sync(self._put, piece, buffer, limiter=self._disk)

    def _put(self, piece: Piece, buffer: bytearray) -> None:
        """Write what belongs to the piece, and empty the buffer; more than was asked for is dropped."""
        wanted = bytes(buffer[: piece.length - piece.done])
        buffer.clear()
        if wanted:
            self._staged.write(piece, wanted)

    @contextmanager
    def _counted(self, piece: Piece) -> Iterator[None]:
        before = piece.done
        try:
            yield
        finally:
            if piece.done != before:
                self._on_bytes(piece.done - before)


def first_failure(group: BaseExceptionGroup[BaseException], *kinds: type[Exception]) -> BaseException:
    """Give the failure that a group of tasks ended with: `DownloadFailed` first, then `kinds`, else the group."""
    leaves = list(_leaves(group))
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
        return group
    wanted: tuple[type[Exception], ...] = (DownloadFailed, *kinds)
    for kind in wanted:
        found = next((leaf for leaf in leaves if isinstance(leaf, kind)), None)
        if found is not None:
            return found
    return group


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _disk_failure(error: OSError, staged: StagedFile) -> DownloadFailed:
    if error.errno in FULL_DISK:
        return DownloadFailed(
            f"The disk is full; {staged.file.size_bytes - staged.done} bytes of {staged.file.path} are missing. "
            "Free some space and run the same command: what has arrived is kept."
        )
    return DownloadFailed(f"{staged.path} cannot be written ({error.strerror}); check its folder's owner and mode.")


def _content_range(text: str) -> tuple[int | None, int | None]:
    """Read `bytes FIRST-LAST/TOTAL`; None for what is not said."""
    unit, _, rest = text.partition(" ")
    span, _, total = rest.partition("/")
    first = span.partition("-")[0]
    if unit != "bytes":
        return None, None
    return (int(first) if first.isdigit() else None), (int(total) if total.isdigit() else None)


def _retry_after(text: str) -> float:
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0
