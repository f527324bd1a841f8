"""The body of a request: whole, bounded in bytes, bounded in time."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from protocol.api.errors import ApiError
from server.serve.request_body import RequestBody


def part(data: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


def collector(*, announced: int = 0, limit: int = 10, seconds: float = 5.0, encoding: str = "") -> RequestBody:
    return RequestBody(announced_bytes=announced, limit_bytes=limit, seconds=seconds, encoding=encoding)


async def test_parts_are_joined() -> None:
    body = collector()
    body.take(part(b"abc", more=True))
    body.take(part(b"def", more=False))
    assert await body.read() == b"abcdef"


async def test_reading_waits_for_the_last_part(nursery: trio.Nursery) -> None:
    body = collector()
    read: list[bytes] = []

    async def reader() -> None:
        read.append(await body.read())

    nursery.start_soon(reader)
    await wait_all_tasks_blocked()
    body.take(part(b"a", more=True))
    await wait_all_tasks_blocked()
    assert read == []
    body.take(part(b"", more=False))
    await wait_all_tasks_blocked()
    assert read == [b"a"]


@pytest.mark.parametrize("encoding", ["gzip", "br", "gzip, identity"])
async def test_a_compressed_body_is_415_and_says_why(encoding: str) -> None:
    with pytest.raises(ApiError) as caught:
        await collector(encoding=encoding).read()
    assert (caught.value.status, caught.value.code) == (415, "unsupported_content_encoding")
    assert encoding in caught.value.message


async def test_the_identity_is_no_encoding() -> None:
    body = collector(encoding=" Identity")
    body.take(part(b"abc", more=False))
    assert await body.read() == b"abc"


async def test_a_body_that_announces_too_much_is_413_before_it_comes() -> None:
    with pytest.raises(ApiError) as caught:
        await collector(announced=11).read()
    assert (caught.value.status, caught.value.code) == (413, "payload_too_large")


@pytest.mark.parametrize("size", [10, 11])
async def test_a_body_without_a_length_is_counted(size: int) -> None:
    body = collector()
    body.take(part(b"x" * size, more=True))
    if size > 10:
        with pytest.raises(ApiError) as caught:
            await body.read()
        assert caught.value.status == 413
    else:
        body.take(part(b"", more=False))
        assert await body.read() == b"x" * 10


async def test_what_passes_the_limit_wakes_a_waiting_reader(nursery: trio.Nursery) -> None:
    body = collector()
    caught: list[ApiError] = []

    async def reader() -> None:
        try:
            await body.read()
        except ApiError as error:
            caught.append(error)

    nursery.start_soon(reader)
    await wait_all_tasks_blocked()
    body.take(part(b"x" * 11, more=True))
    await wait_all_tasks_blocked()
    assert [error.status for error in caught] == [413]


@pytest.mark.parametrize(("announced", "waited"), [(0, 5.0), (256 * 1024, 7.0)])
async def test_a_body_that_stalls_is_408_and_a_longer_one_may_take_longer(
    announced: int, waited: float, autojump_clock: MockClock
) -> None:
    body = collector(announced=announced, limit=1024 * 1024)
    started = trio.current_time()
    with pytest.raises(ApiError) as caught:
        await body.read()
    assert caught.value.status == 408
    assert trio.current_time() - started == pytest.approx(waited)
