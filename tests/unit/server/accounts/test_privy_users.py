"""From a token to an account: first sight, races, addresses that come later, administrators."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio

from protocol.settings import Secret
from server.accounts import users
from server.accounts.changes import Changes
from server.accounts.privy_api import PrivyAddress, PrivyApi, privy_client
from server.accounts.privy_failures import CodeRefused, PrivyUnavailable
from server.accounts.privy_tokens import TokenRefused
from server.accounts.privy_users import PrivyUsers
from server.accounts.users import AdminRule
from server.store import Store
from tests.unit.server.accounts.people import APP, Times, add_user
from tests.unit.server.accounts.privy_peer import PrivyPeer, open_privy

DID = "did:privy:ada"
APP_SECRET = "privy-app-secret-planted"


@asynccontextmanager
async def opened(store: Store, times: Times) -> AsyncGenerator[tuple[PrivyPeer, PrivyUsers, PrivyApi], None]:
    async with open_privy() as peer, privy_client() as client:
        api = PrivyApi(PrivyAddress(peer.url, APP, Secret(APP_SECRET)), client)
        people = PrivyUsers(store, api=api, changes=Changes(store), clock=times.clock, wall_clock=times.wall_clock)
        yield peer, people, api


async def test_first_sight_makes_the_account_with_its_verified_address(store: Store) -> None:
    async with opened(store, Times()) as (peer, people, _api):
        peer.emails[DID] = "Ada@Example.com"
        user = await people.user_of(DID)
        assert (user.email, user.email_norm) == ("Ada@Example.com", "ada@example.com")
        assert not user.is_local
        _method, path, headers, _body = peer.requests[0]
        assert path == "/api/v1/users/did%3Aprivy%3Aada"
        assert headers["privy-app-id"] == APP
        assert headers["authorization"].startswith("Basic ")
        assert await people.user_of(DID) == user
        assert len(peer.requests) == 1


async def test_twenty_first_requests_make_one_account(store: Store) -> None:
    async with opened(store, Times()) as (peer, people, _api):
        peer.emails[DID] = "ada@example.com"
        found: set[str] = set()

        async def ask() -> None:
            found.add((await people.user_of(DID)).account_id)

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)
    assert len(found) == 1
    assert await store.read(lambda tx: tx.value("SELECT COUNT(*) FROM users")) == 1


async def test_a_user_whom_privy_does_not_know_gets_no_account(store: Store) -> None:
    async with opened(store, Times()) as (_peer, people, _api):
        with pytest.raises(TokenRefused):
            await people.user_of(DID)
    assert not await store.read(users.any_exists)


async def test_the_address_follows_when_privy_is_back(store: Store) -> None:
    times = Times()
    async with opened(store, times) as (peer, people, _api):
        peer.down = True
        user = await people.user_of(DID)
        assert (user.email, user.email_norm) == ("", "")
        peer.emails[DID] = "ada@example.com"
        peer.down = False
        await people.retry()
        assert (await people.user_of(DID)).email == ""
        times.go(60)
        await people.retry()
        assert (await people.user_of(DID)).email_norm == "ada@example.com"
        count = len(peer.requests)
        times.go(4000)
        await people.retry()
        assert len(peer.requests) == count


async def test_retries_back_off_to_an_hour(store: Store) -> None:
    times = Times()
    async with opened(store, times) as (peer, people, _api):
        peer.down = True
        await people.user_of(DID)
        asked = []
        for minute in range(1, 300):
            times.go(60)
            before = len(peer.requests)
            await people.retry()
            if len(peer.requests) > before:
                asked.append(minute)
    assert asked == [1, 3, 7, 15, 31, 63, 123, 183, 243]


async def test_addresses_left_over_by_an_earlier_process_are_found(store: Store) -> None:
    times = Times()
    await add_user(store, "local-one", local=True)
    await store.write(lambda tx: users.insert(tx, DID, times.wall))
    async with opened(store, times) as (peer, people, _api):
        peer.emails[DID] = "ada@example.com"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(people.run)
            with trio.fail_after(10):
                while not await store.read(lambda tx: users.find_by_email(tx, "ADA@example.com ")):
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        assert peer.count("/api/v1/users/") == 1


async def test_an_erased_account_does_not_come_back(store: Store) -> None:
    times = Times()
    user = await add_user(store, "ada")
    sql = "UPDATE users SET erased_at = 5 WHERE account_id = $1"
    await store.write(lambda tx: tx.execute(sql, user.account_id))
    async with opened(store, times) as (peer, people, _api):
        peer.emails[DID] = "ada@example.com"
        with pytest.raises(TokenRefused):
            await people.user_of(DID)


async def test_administrators_are_marked_or_have_a_listed_verified_address(store: Store) -> None:
    rule = AdminRule([" Ada@Example.com", "carol@example.com"])
    assert rule(await add_user(store, "ada"))
    assert not rule(await add_user(store, "eve"))
    assert rule(await add_user(store, "bob", is_admin=True))
    carol = await add_user(store, "carol", local=True)
    assert carol.email == "carol@example.com"
    assert not rule(carol)
    assert not rule(await add_user(store, "nobody", email=""))
    assert not AdminRule([""])(await add_user(store, "empty", email=""))


async def test_one_time_codes(store: Store) -> None:
    async with opened(store, Times()) as (peer, _people, api):
        await api.send_code("ada@example.com")
        with pytest.raises(CodeRefused):
            await api.sign_in("ada@example.com", "000000")
        await api.send_code("ada@example.com")
        assert await api.sign_in("ada@example.com", "123456") == "eyJ.signed.token"
        peer.down = True
        with pytest.raises(PrivyUnavailable):
            await api.send_code("ada@example.com")
        with pytest.raises(PrivyUnavailable):
            await api.sign_in("ada@example.com", "123456")


@pytest.mark.parametrize("body", [b"x" * 300_000, b"[]", b"not json", b'{"linked_accounts": 5}'])
async def test_nonsense_from_privy_is_an_outage(store: Store, body: bytes) -> None:
    async with opened(store, Times()) as (peer, _people, api):
        peer.emails[DID] = "ada@example.com"
        peer.body = body
        with pytest.raises(PrivyUnavailable):
            await api.email_of(DID)


async def test_the_app_secret_shows_nowhere(store: Store) -> None:
    async with opened(store, Times()) as (peer, people, api):
        peer.down = True
        with pytest.raises(PrivyUnavailable) as caught:
            await api.email_of(DID)
        shown = repr((people, api, api._address, caught.value, caught.value.__context__))
        assert APP_SECRET not in shown
