"""Server-side request forgery: the classic ways to make a fetcher talk to a private network, all refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from protocol.api.errors import ApiError
from server.media import MediaFetcher, is_public
from tests.unit.server.media.web import OTHER, PUBLIC, Web, image, ok, png, redirect


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    async with trio.open_nursery() as nursery:
        yield Web(nursery)
        nursery.cancel_scope.cancel()


async def refused(web: Web, url: str, **more: object) -> ApiError:
    fetcher = web.fetcher(**more)  # type: ignore[arg-type]
    with pytest.raises(ApiError) as caught:
        await fetcher.fetch([image(url)])
    return caught.value


PRIVATE_HOSTS = {
    "loopback": "127.0.0.1",
    "another loopback address": "127.127.127.127",
    "the unspecified address": "0.0.0.0",
    "decimal": "2130706433",
    "octal": "0177.0.0.1",
    "octal, whole": "017700000001",
    "hexadecimal": "0x7f000001",
    "hexadecimal, by parts": "0x7f.0x0.0x0.0x1",
    "two parts": "127.1",
    "three parts": "10.0.1",
    "overflowing": "4294967297",
    "a trailing dot": "127.0.0.1.",
    "full-width digits": "１２７.０.０.１",
    "circled digits": "①②⑦.⓪.⓪.①",
    "ideographic full stops": "127。0。0。1",
    "IPv6 loopback": "[::1]",
    "IPv6 unspecified": "[::]",
    "IPv4-mapped": "[::ffff:127.0.0.1]",
    "IPv4-mapped in hexadecimal": "[::ffff:7f00:1]",
    "IPv4-mapped, uncompressed": "[0:0:0:0:0:ffff:127.0.0.1]",
    "IPv4-compatible": "[::127.0.0.1]",
    "NAT64": "[64:ff9b::7f00:1]",
    "6to4": "[2002:7f00:1::]",
    "Teredo": "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
    "IPv6 link-local": "[fe80::1]",
    "IPv6 unique local": "[fd00::1]",
    "IPv6 with a zone": "[fe80::1%25eth0]",
    "private, class A": "10.0.0.1",
    "private, class B": "172.16.0.1",
    "private, class C": "192.168.1.1",
    "carrier-grade NAT": "100.64.0.1",
    "cloud metadata": "169.254.169.254",
    "cloud metadata over IPv6": "[fd00:ec2::254]",
    "Alibaba metadata": "100.100.100.200",
    "Azure's host": "168.63.129.16",
    "multicast": "224.0.0.1",
    "broadcast": "255.255.255.255",
    "reserved": "240.0.0.1",
    "benchmarking": "198.18.0.1",
}


@pytest.mark.parametrize("host", PRIVATE_HOSTS.values(), ids=list(PRIVATE_HOSTS))
async def test_a_private_address_in_any_spelling(host: str, web: Web, autojump_clock: MockClock) -> None:
    error = await refused(web, f"http://{host}/x.png")
    assert (error.status, error.code) == (403, "media_blocked")
    assert web.dialled == []


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:10.0.0.1"],
        ["fe80::1%eth0"],
        [PUBLIC, "10.0.0.1"],
        ["not an address"],
    ],
)
async def test_a_name_that_leads_to_a_private_address(answer: list[str], web: Web, autojump_clock: MockClock) -> None:
    web.names["evil.test"] = [answer]
    error = await refused(web, "https://evil.test/x.png")
    assert (error.status, error.code) == (403, "media_blocked")
    assert web.dialled == []


async def test_a_name_whose_answer_changes_is_dialled_where_it_was_judged(web: Web, autojump_clock: MockClock) -> None:
    web.names["rebinding.test"] = [[PUBLIC], ["127.0.0.1"]]
    web.sites[PUBLIC, "/x.png"] = ok(png())
    web.sites["127.0.0.1", "/x.png"] = ok(png())
    await web.fetcher().fetch([image("http://rebinding.test/x.png")])
    assert web.dialled == [(PUBLIC, 80)]
    assert (await refused(web, "http://rebinding.test/x.png")).code == "media_blocked"
    assert web.dialled == [(PUBLIC, 80)]


async def test_a_name_whose_answer_changes_between_two_redirects(web: Web, autojump_clock: MockClock) -> None:
    web.names["rebinding.test"] = [[PUBLIC], ["127.0.0.1"]]
    web.sites[PUBLIC, "/x.png"] = redirect("/y.png")
    web.sites["127.0.0.1", "/y.png"] = ok(png())
    assert (await refused(web, "http://rebinding.test/x.png")).code == "media_blocked"
    assert web.dialled == [(PUBLIC, 80)]


async def test_a_connection_that_ends_elsewhere_than_it_was_dialled(web: Web, autojump_clock: MockClock) -> None:
    web.sites[PUBLIC, "/x.png"] = ok(png())
    web.peers[PUBLIC] = "10.0.0.1"
    assert (await refused(web, "http://good.test/x.png")).code == "media_blocked"
    assert web.asked == []


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/x.png",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://2852039166/",
        "//10.0.0.1/x.png",
        "http://inside.test/x.png",
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_a_private_address(location: str, status: int, web: Web, autojump_clock: MockClock) -> None:
    web.names["inside.test"] = [["192.168.0.1"]]
    web.sites[PUBLIC, "/x.png"] = redirect(location, status)
    assert (await refused(web, "http://good.test/x.png")).code == "media_blocked"
    assert web.dialled == [(PUBLIC, 80)]


async def test_a_redirect_behind_a_redirect(web: Web, autojump_clock: MockClock) -> None:
    web.sites[PUBLIC, "/x.png"] = redirect("http://other.test/y.png")
    web.sites[OTHER, "/y.png"] = redirect("http://localhost/z.png")
    web.names["localhost"] = [["127.0.0.1", "::1"]]
    assert (await refused(web, "http://good.test/x.png")).code == "media_blocked"
    assert web.dialled == [(PUBLIC, 80), (OTHER, 80)]


@pytest.mark.parametrize("location", ["file:///etc/passwd", "gopher://10.0.0.1:25/", "ftp://good.test/x", "data:x,y"])
async def test_a_redirect_to_another_scheme(location: str, web: Web, autojump_clock: MockClock) -> None:
    web.sites[PUBLIC, "/x.png"] = redirect(location)
    assert (await refused(web, "http://good.test/x.png")).code in ("media_invalid_scheme", "invalid_media_url")
    assert len(web.dialled) == 1


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://good.test@127.0.0.1/x.png", "invalid_media_url"),
        ("http://127.0.0.1@good.test/x.png", "invalid_media_url"),
        ("http://user:pass@good.test/", "invalid_media_url"),
        ("http://good.test\\@127.0.0.1/", "invalid_media_url"),
        ("http://good.test\r\nHost: 127.0.0.1/", "invalid_media_url"),
        ("http://good.test/x\n.png", "invalid_media_url"),
        (" http://good.test/", "invalid_media_url"),
        ("http://good.test/x y.png", "invalid_media_url"),
        ("http:///x.png", "invalid_media_url"),
        ("http:good.test/x.png", "invalid_media_url"),
        ("http://good.test:99999/", "invalid_media_url"),
        ("http://good.test:0/", "invalid_media_url"),
        ("http://good.test:8o/", "invalid_media_url"),
        ("http://[::1/", "invalid_media_url"),
        ("http://exa$mple.test/", "invalid_media_url"),
        ("http://" + "a" * 64 + ".test/", "invalid_media_url"),
        ("http://%31%32%37.0.0.1/", "invalid_media_url"),
        ("//good.test/x.png", "invalid_media_url"),
        ("x.png", "invalid_media_url"),
        ("", "invalid_media_url"),
        ("http://good.test/" + "x" * 9000, "invalid_media_url"),
        ("file:///etc/passwd", "media_invalid_scheme"),
        ("ftp://good.test/x.png", "media_invalid_scheme"),
        ("gopher://good.test/_", "media_invalid_scheme"),
        ("dict://good.test:11211/stat", "media_invalid_scheme"),
        ("javascript:alert(1)", "media_invalid_scheme"),
    ],
)
async def test_a_url_that_readers_may_disagree_about(url: str, code: str, web: Web, autojump_clock: MockClock) -> None:
    error = await refused(web, url)
    assert (error.status, error.code, error.param) == (400, code, "messages")
    assert web.dialled == []


@pytest.mark.parametrize("host", ["bad.test", "BAD.test", "bad.test.", "deep.below.bad.test"])
async def test_a_domain_of_the_block_list(host: str, web: Web, autojump_clock: MockClock) -> None:
    web.names |= {host.lower(): [[PUBLIC]]}
    assert (await refused(web, f"http://{host}/x.png", blocked=["Bad.test."])).code == "media_blocked"
    assert web.dialled == []


async def test_a_redirect_to_a_domain_of_the_block_list(web: Web, autojump_clock: MockClock) -> None:
    web.sites[PUBLIC, "/x.png"] = redirect("http://other.test/x.png")
    assert (await refused(web, "http://good.test/x.png", blocked=["other.test"])).code == "media_blocked"
    assert web.dialled == [(PUBLIC, 80)]


async def test_what_is_no_media_never_comes_back(web: Web, autojump_clock: MockClock) -> None:
    web.sites[PUBLIC, "/admin"] = ok(b"root:x:0:0:secrets")
    assert (await refused(web, "http://good.test/admin")).code == "media_invalid_type"


async def test_no_refusal_names_what_was_asked(web: Web, autojump_clock: MockClock) -> None:
    web.names["evil.test"] = [["10.9.8.7"]]
    for url in ("http://evil.test/secret.png", "http://nowhere.test/secret.png", "http://10.9.8.7/secret.png"):
        error = await refused(web, url)
        for word in ("evil", "nowhere", "10.9", "secret"):
            assert word not in error.message


async def test_a_real_loopback_server_hears_nothing() -> None:
    heard: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        heard.append(await stream.receive_some())

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        for host in ("127.0.0.1", "localhost", "[::1]"):
            with pytest.raises(ApiError) as caught:
                await MediaFetcher().fetch([image(f"http://{host}:{port}/x.png")])
            assert caught.value.code == "media_blocked"
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert heard == []


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)
