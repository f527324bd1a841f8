"""Remote media within its bounds: all of a request's files, or an error."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from protocol.api.errors import ApiError
from server.media import check_url
from server.media.sniff import pixels, sniff
from tests.unit.server.media.web import OTHER, PUBLIC, Web, image, ok, png, redirect, video

URL = "http://good.test/x.png"


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    async with trio.open_nursery() as nursery:
        yield Web(nursery)
        nursery.cancel_scope.cancel()


async def refused(web: Web, *urls: str, **limits: float) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await web.fetcher(**limits).fetch([image(url, part) for part, url in enumerate(urls or (URL,))])
    return caught.value


async def test_a_file_becomes_a_data_url_of_what_it_is(web: Web, autojump_clock: MockClock) -> None:
    web.sites[PUBLIC, "/x.png"] = ok(png())
    found = await web.fetcher().fetch([image(URL)])
    assert found == {image(URL): "data:image/png;base64," + base64.b64encode(png()).decode()}
    (head,) = web.heads
    assert b"accept-encoding: identity" in head.lower()
    assert b"connection: close" in head.lower()
    assert b"host: good.test\r\n" in head.lower()
    assert b"authorization" not in head.lower()


async def test_equal_urls_are_fetched_once(web: Web, autojump_clock: MockClock) -> None:
    web.sites[PUBLIC, "/x.png"] = ok(png())
    found = await web.fetcher().fetch([image(URL, 0), image(URL, 1)])
    assert len(found) == 2
    assert len(web.dialled) == 1


async def test_redirects_are_followed_so_far(web: Web, autojump_clock: MockClock) -> None:
    web.sites[PUBLIC, "/x.png"] = redirect("http://other.test/1")
    web.sites |= {(OTHER, "/1"): redirect("2?a=b"), (OTHER, "/2?a=b"): redirect("/3"), (OTHER, "/3"): ok(png())}
    assert len(await web.fetcher().fetch([image(URL)])) == 1
    assert web.asked[-1] == "GET /3 HTTP/1.1"
    web.sites[OTHER, "/3"] = redirect("/4")
    assert (await refused(web)).code == "media_fetch_failed"


async def test_a_port_is_dialled_and_named(web: Web, autojump_clock: MockClock) -> None:
    web.sites[PUBLIC, "/x.png"] = ok(png())
    await web.fetcher().fetch([image("http://good.test:8080/x.png")])
    assert web.dialled == [(PUBLIC, 8080)]
    assert b"good.test:8080" in web.heads[0]


async def test_the_next_address_is_tried(web: Web, autojump_clock: MockClock) -> None:
    web.names["good.test"] = [[OTHER, PUBLIC]]
    web.sites[PUBLIC, "/x.png"] = ok(png())
    assert len(await web.fetcher().fetch([image(URL)])) == 1
    assert web.dialled == [(OTHER, 80), (PUBLIC, 80)]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 206 Part\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 302 Moved\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        ok(png(), "Content-Encoding: gzip"),
    ],
)
async def test_an_answer_that_is_none_is_502(answer: bytes, web: Web, autojump_clock: MockClock) -> None:
    web.sites[PUBLIC, "/x.png"] = answer
    error = await refused(web)
    assert (error.status, error.code, error.param) == (502, "media_fetch_failed", "messages")


async def test_a_name_that_does_not_exist_is_502(web: Web, autojump_clock: MockClock) -> None:
    assert (await refused(web, "http://nowhere.test/x.png")).code == "media_fetch_failed"


async def test_a_body_may_be_chunked_or_end_with_the_connection(web: Web, autojump_clock: MockClock) -> None:
    body = png(size=40)
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n28\r\n" + body + b"\r\n0\r\n\r\n"
    web.sites[PUBLIC, "/x.png"] = chunked
    assert len(await web.fetcher().fetch([image(URL)])) == 1
    web.sites[PUBLIC, "/x.png"] = b"HTTP/1.0 200 OK\r\n\r\n" + body
    assert len(await web.fetcher().fetch([image(URL)])) == 1


async def test_a_body_in_tiny_pieces_is_given_up(web: Web, autojump_clock: MockClock) -> None:
    def site(size: int, piece: int) -> bytes:
        body = png(size=size)
        pieces = [body[at : at + piece] for at in range(0, size, piece)]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in pieces)
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"

    web.sites[PUBLIC, "/x.png"] = site(1200, 1)
    assert (await refused(web)).code == "media_fetch_failed"
    web.sites[PUBLIC, "/x.png"] = site(200_000, 150)
    assert len(await web.fetcher().fetch([image(URL)])) == 1


@pytest.mark.parametrize(("number", "fetched"), [(8, True), (9, False)])
async def test_so_many_interim_answers_are_waited_for(
    number: int, fetched: bool, web: Web, autojump_clock: MockClock
) -> None:
    web.sites[PUBLIC, "/x.png"] = b"HTTP/1.1 103 Early Hints\r\n\r\n" * number + ok(png(size=40))
    if fetched:
        assert len(await web.fetcher().fetch([image(URL)])) == 1
    else:
        assert (await refused(web)).code == "media_fetch_failed"


@pytest.mark.parametrize("announced", [True, False])
async def test_a_file_over_the_cap_is_413(announced: bool, web: Web, autojump_clock: MockClock) -> None:
    body = png(size=2000)
    web.sites[PUBLIC, "/x.png"] = ok(body) if announced else b"HTTP/1.0 200 OK\r\n\r\n" + body
    error = await refused(web, file_bytes=1999)
    assert (error.status, error.code) == (413, "media_too_large")
    assert len(await web.fetcher(file_bytes=2000).fetch([image(URL)])) == 1


async def test_files_over_the_cap_together_are_413(web: Web, autojump_clock: MockClock) -> None:
    web.sites |= {(PUBLIC, f"/{index}"): ok(png(size=1000)) for index in range(3)}
    urls = [f"http://good.test/{index}" for index in range(3)]
    assert (await refused(web, *urls, total_bytes=2999)).code == "media_too_large"
    found = await web.fetcher(total_bytes=3000).fetch([image(url, part) for part, url in enumerate(urls)])
    assert len(found) == 3


async def test_too_many_pixels_are_413(web: Web, autojump_clock: MockClock) -> None:
    web.sites[PUBLIC, "/x.png"] = ok(png(20_000, 20_000))
    assert (await refused(web)).code == "media_too_large"


async def test_a_slow_file_is_408(web: Web, autojump_clock: MockClock) -> None:
    web.sites[PUBLIC, "/x.png"] = ok(png())
    web.pause = 15.5
    started = trio.current_time()
    error = await refused(web)
    assert (error.status, error.code) == (408, "media_fetch_timeout")
    assert trio.current_time() - started == pytest.approx(15)


async def test_slow_files_together_are_408(web: Web, autojump_clock: MockClock) -> None:
    web.sites |= {(PUBLIC, f"/{index}"): ok(png()) for index in range(8)}
    web.pause = 14
    started = trio.current_time()
    error = await refused(web, *(f"http://good.test/{index}" for index in range(8)))
    assert error.code == "media_fetch_timeout"
    assert trio.current_time() - started == pytest.approx(25)
    assert web.most_open == 4


async def test_all_requests_share_the_places(web: Web, autojump_clock: MockClock) -> None:
    web.sites |= {(PUBLIC, f"/{index}"): ok(png()) for index in range(6)}
    web.pause = 1
    fetcher = web.fetcher(global_concurrency=2)
    async with trio.open_nursery() as nursery:
        for index in range(6):
            nursery.start_soon(fetcher.fetch, [image(f"http://good.test/{index}")])
    assert web.most_open == 2


async def test_too_many_waiting_requests_are_429(web: Web, autojump_clock: MockClock) -> None:
    web.sites |= {(PUBLIC, f"/{index}"): ok(png()) for index in range(3)}
    web.pause = 1
    fetcher = web.fetcher(global_concurrency=1, waiting=1)
    seen: list[int] = []

    async def ask(index: int) -> None:
        try:
            await fetcher.fetch([image(f"http://good.test/{index}")])
            seen.append(200)
        except ApiError as error:
            seen.append(error.status)

    async with trio.open_nursery() as nursery:
        for index in range(3):
            nursery.start_soon(ask, index)
    assert sorted(seen) == [200, 200, 429]


async def test_one_failure_ends_the_others(web: Web, autojump_clock: MockClock) -> None:
    web.sites |= {(PUBLIC, "/a"): ok(b"text"), (PUBLIC, "/b"): ok(png())}
    started = trio.current_time()
    web.pause = 1
    assert (await refused(web, "http://127.0.0.1/", "http://good.test/b")).code == "media_blocked"
    assert trio.current_time() == started
    assert web.open == 0


async def test_the_kind_of_the_part_must_match(web: Web, autojump_clock: MockClock) -> None:
    web.sites[PUBLIC, "/x.png"] = ok(png())
    web.sites[PUBLIC, "/v"] = ok(b"\0\0\0\x18ftypmp42" + b"\0" * 40)
    with pytest.raises(ApiError) as caught:
        await web.fetcher().fetch([video(URL)])
    assert (caught.value.status, caught.value.code) == (400, "media_kind_mismatch")
    found = await web.fetcher().fetch([video("http://good.test/v")])
    assert next(iter(found.values())).startswith("data:video/mp4;base64,")


async def test_cancellation_closes_everything(web: Web, autojump_clock: MockClock) -> None:
    web.sites[PUBLIC, "/x.png"] = ok(png())
    web.pause = 10
    with trio.move_on_after(1) as scope:
        await web.fetcher().fetch([image(URL)])
    assert scope.cancelled_caught
    await trio.testing.wait_all_tasks_blocked()
    assert web.open == 0 or web.pause


@pytest.mark.parametrize(
    ("data", "mime"),
    [
        (b"\xff\xd8\xff\xe0rest", "image/jpeg"),
        (png(), "image/png"),
        (b"GIF87a....", "image/gif"),
        (b"GIF89a....", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"BM" + b"\x10\0\0\0" + b"\0" * 30, "image/bmp"),
        (b"\0\0\0\x14ftypqt  ", "video/quicktime"),
        (b"\0\0\0\x14ftypisom", "video/mp4"),
        (b"\0\0\0\x14moov....", "video/quicktime"),
        (b"\0\0\0\x14ftypavif", None),
        (b"<svg onload=alert(1)>", None),
        (b"BMessage", None),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
        (b"%PDF-1.7", None),
        (b"", None),
    ],
)
def test_types_are_read_from_the_bytes(data: bytes, mime: str | None) -> None:
    found = sniff(data)
    assert (found.mime if found is not None else None) == mime


def test_pixels_are_read_from_the_header() -> None:
    assert pixels(png(30, 40)) == 1200
    assert pixels(b"GIF89a" + b"\x05\0\x07\0") == 35
    frame = b"\xff\xc0\0\x11\x08" + (300).to_bytes(2, "big") + (200).to_bytes(2, "big")
    assert pixels(b"\xff\xd8\xff\xe0\0\x04ab" + b"\xff\xff" + frame[1:]) == 60_000
    assert pixels(b"\xff\xd8\xff\xe0\0\x04ab\xff\xd0" + frame) == 60_000
    assert pixels(b"\xff\xd8\xff\xe0\0") == 0
    assert pixels(b"\xff\xd8") == 0
    assert pixels(png()[:20]) == 0
    assert pixels(b"RIFF") == 0


def test_urls_are_read_into_what_is_asked() -> None:
    url = check_url("HTTPS://Good.Test:8443/a%20b/ü?q=1&r=[x]#part")
    assert (url.scheme, url.host, url.port) == ("https", "good.test", 8443)
    assert url.target == "/a%20b/%C3%BC?q=1&r=[x]"
    assert url.authority == "good.test:8443"
    assert check_url("http://good.test").target == "/"
    assert check_url("http://good.test?x").target == "/?x"
    assert check_url("http://bücher.test/").host == "xn--bcher-kva.test"
    assert check_url("http://[2606:4700::1111]/").authority == "[2606:4700::1111]"
