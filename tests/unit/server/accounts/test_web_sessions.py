"""Browser sessions: how long they are good, what ends them, and when a cookie counts at all."""

from __future__ import annotations

import pytest

from protocol.api.errors import ApiError
from server.accounts.browser import BrowserFacts, cookie_header, own_origin, session_cookie
from server.accounts.credentials import hash_of
from server.accounts.use_notes import UseNotes
from server.accounts.web_sessions import MAX_LIVE, WebSessions, note_seen
from server.store import Store
from tests.unit.server.accounts.people import Times

DAY = 86_400
OURS = frozenset({"https://console.example"})


class World:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.times = Times()
        self.uses = UseNotes(store, note_seen)
        self.sessions = WebSessions(store, uses=self.uses, wall_clock=self.times.wall_clock)


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


async def test_a_cookie_finds_its_session_and_is_stored_as_hash(world: World) -> None:
    opened = await world.sessions.open("ada", "local", label="Firefox")
    assert len(opened.cookie) == 64
    found = await world.sessions.find(opened.cookie)
    assert found is not None
    assert (found.account_id, found.mode, found.label) == ("ada", "local", "Firefox")
    rows = [dict(row) for row in await world.store.read(lambda tx: tx.fetch("SELECT * FROM web_sessions"))]
    assert opened.cookie not in repr(rows)
    assert rows[0]["token_hash"] == hash_of(opened.cookie)
    assert opened.cookie not in repr(opened)
    assert hash_of(opened.cookie) not in repr(opened)
    assert await world.sessions.find("0" * 64) is None


async def test_fourteen_idle_days_end_a_session(world: World) -> None:
    opened = await world.sessions.open("ada", "local")
    world.times.go(14 * DAY - 1)
    assert await world.sessions.find(opened.cookie) is not None
    world.times.go(1)
    assert await world.sessions.find(opened.cookie) is None
    assert await world.sessions.list("ada") == []


async def test_use_keeps_a_session_for_90_days_and_no_longer(world: World) -> None:
    opened = await world.sessions.open("ada", "local")
    for _ in range(9):
        world.times.go(10 * DAY - 1)
        assert await world.sessions.find(opened.cookie) is not None
        await world.uses.flush()
    world.times.go(9)
    assert await world.sessions.find(opened.cookie) is None


async def test_a_sign_in_ends_the_session_that_the_browser_had(world: World) -> None:
    first = await world.sessions.open("ada", "local")
    second = await world.sessions.open("eve", "local", replaces=first.session.token_hash)
    assert await world.sessions.find(first.cookie) is None
    assert await world.sessions.find(second.cookie) is not None


async def test_sessions_end_by_hand(world: World) -> None:
    first, second = await world.sessions.open("ada", "local"), await world.sessions.open("ada", "privy")
    assert not await world.sessions.end_by_id("eve", first.session.id)
    assert await world.sessions.end_by_id("ada", first.session.id)
    assert not await world.sessions.end_by_id("ada", first.session.id)
    assert [one.id for one in await world.sessions.list("ada")] == [second.session.id]
    await world.sessions.end(second.session.token_hash)
    assert await world.sessions.find(second.cookie) is None


async def test_the_oldest_of_too_many_sessions_end(world: World) -> None:
    opened = []
    for _ in range(MAX_LIVE + 2):
        opened.append(await world.sessions.open("ada", "local"))
        world.times.go(1)
    assert await world.sessions.find(opened[1].cookie) is None
    assert await world.sessions.find(opened[2].cookie) is not None
    assert len(await world.sessions.list("ada")) == MAX_LIVE


def facts(method: str = "POST", origin: str = "", site: str = "", csrf: str = "1") -> BrowserFacts:
    return BrowserFacts(method=method, own_origins=OURS, origin=origin, fetch_site=site, csrf=csrf)


@pytest.mark.parametrize(
    "good",
    [
        facts(site="same-origin"),
        facts(site="none"),
        facts(origin="https://console.example"),
        facts(site="same-origin", origin="https://console.example"),
        facts("GET", csrf=""),
        facts("HEAD", csrf="", site="cross-site"),
    ],
)
def test_our_own_page_may(good: BrowserFacts) -> None:
    good.check_csrf()


@pytest.mark.parametrize(
    "bad",
    [
        facts(csrf="", site="same-origin"),
        facts(csrf="0", site="same-origin"),
        facts(),
        facts(site="cross-site"),
        facts(site="same-site"),
        facts(origin="https://evil.example"),
        facts(origin="null"),
        facts(site="cross-site", origin="https://console.example"),
        facts(site="same-origin", origin="https://evil.example"),
        facts("DELETE", csrf="", origin="https://console.example"),
        facts("PATCH", origin="http://console.example"),
        BrowserFacts(method="POST", own_origins=OURS | {""}, csrf="1"),
    ],
)
def test_other_pages_may_not(bad: BrowserFacts) -> None:
    with pytest.raises(ApiError) as caught:
        bad.check_csrf()
    assert (caught.value.status, caught.value.code) == (403, "csrf_failed")


@pytest.mark.parametrize(
    ("request_facts", "counts"),
    [
        (facts("GET"), True),
        (facts("GET", site="same-origin"), True),
        (facts("GET", site="cross-site"), False),
        (facts("GET", site="same-site"), False),
        (facts("GET", origin="https://evil.example"), False),
        (facts("GET", origin="https://console.example"), True),
    ],
)
def test_a_cookie_counts_on_same_origin_requests(request_facts: BrowserFacts, counts: bool) -> None:
    assert request_facts.is_same_origin == counts


def test_cookie_attributes() -> None:
    assert cookie_header("v", secure=True) == "db_sess=v; Path=/; Max-Age=7776000; HttpOnly; SameSite=Lax; Secure"
    assert cookie_header("", secure=False, max_age_seconds=0) == "db_sess=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("db_sess=abc", "abc"),
        ("theme=dark; db_sess=abc; x=y", "abc"),
        (" db_sess = abc ;", "abc"),
        ("", ""),
        ("db_sess", ""),
        ("xdb_sess=abc", ""),
        ("db_sess=abc; db_sess=def", ""),
    ],
)
def test_our_cookie_is_found_among_others(header: str, value: str) -> None:
    assert session_cookie(header) == value


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("Console.Example", "https://console.example"),
        ("console.example:8443", "https://console.example:8443"),
        ("[2001:db8::1]:80", "https://[2001:db8::1]:80"),
        ("console.example:443", "https://console.example"),
        ("console_1:80", "https://console_1:80"),
        ("", ""),
        ("a/b", ""),
        ("user@host", ""),
        ("host:port", ""),
    ],
)
def test_our_origin_comes_from_a_host_that_is_one(host: str, origin: str) -> None:
    assert own_origin("https", host) == origin


async def test_whoever_has_a_key_cannot_sign_its_owner_out(world: World) -> None:
    person = await world.sessions.open("ada", "local")
    other_key = await world.sessions.open("ada", "key", key_id="key_2")
    for _ in range(MAX_LIVE + 2):
        world.times.go(1)
        newest = await world.sessions.open("ada", "key", key_id="key_1")
    for kept in (person, other_key, newest):
        assert await world.sessions.find(kept.cookie) is not None


async def test_signing_in_again_and_again_does_not_fill_the_table(world: World) -> None:
    for _ in range(2 * MAX_LIVE):
        world.times.go(1)
        opened = await world.sessions.open("ada", "key", key_id="key_1")
        await world.sessions.end(opened.session.token_hash)
    count = await world.store.read(lambda tx: tx.value("SELECT COUNT(*) FROM web_sessions"))
    assert isinstance(count, int)
    assert count <= MAX_LIVE
