"""Tokens of machines, and the live connections that they link: revocation must reach them all."""

from __future__ import annotations

import pytest
import trio

from server.accounts import provider_tokens
from server.accounts.changes import Changes
from server.accounts.credentials import hash_of
from server.accounts.provider_tokens import ProviderTokens, TokenBook
from server.accounts.use_notes import UseNotes
from server.store import Store
from tests.unit.server.accounts.people import Times


class World:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.times = Times()
        self.unlinked: list[str] = []
        self.changes = Changes(store)
        self.uses = UseNotes(store, provider_tokens.note_used)
        self.book = TokenBook(self.unlinked.append)
        self.tokens = ProviderTokens(
            store, changes=self.changes, uses=self.uses, book=self.book, wall_clock=self.times.wall_clock
        )

    async def make(self, account: str = "ada", label: str = "device-ABCD-2345") -> str:
        self.times.go(1)
        return await self.store.write(lambda tx: provider_tokens.insert(tx, account, label, self.times.wall))


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


async def test_a_token_names_its_account(world: World) -> None:
    token = await world.make()
    assert await world.tokens.account_of(token) == "ada"
    for wrong in ("", "x", token[:-1], token + "0", "sk-db-" + "0" * 64, "eigeninference-pt-" + "0" * 64, "\ud800"):
        assert await world.tokens.account_of(wrong) is None


async def test_a_revoked_token_is_nobody(world: World) -> None:
    token = await world.make()
    await world.tokens.revoke(token)
    await world.tokens.revoke(token)
    await world.tokens.revoke("never seen")
    assert await world.tokens.account_of(token) is None


async def test_revocation_unlinks_live_connections_of_that_token_only(world: World) -> None:
    first, second = await world.make(), await world.make("eve")
    assert await world.tokens.link("s1", first) == "ada"
    assert await world.tokens.link("s2", first) == "ada"
    assert await world.tokens.link("s3", second) == "eve"
    assert await world.tokens.link("s4", "unknown") is None
    await world.tokens.revoke(first)
    assert world.unlinked == ["s1", "s2"]
    assert len(world.book) == 1


async def test_ended_connections_are_not_unlinked_any_more(world: World) -> None:
    token = await world.make()
    await world.tokens.link("s1", token)
    world.book.leave("s1")
    world.book.leave("s1")
    await world.tokens.revoke(token)
    assert world.unlinked == []
    assert world.book.tokens() == []


async def test_a_revocation_while_a_connection_is_being_linked_wins(world: World) -> None:
    """However the two interleave: in the end the connection is unlinked."""
    for rounds in range(20):
        token = await world.make()
        linked: list[str | None] = []

        async def link(token: str = token, linked: list[str | None] = linked, rounds: int = rounds) -> None:
            linked.append(await world.tokens.link(f"s{rounds}", token))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(link)
            nursery.start_soon(world.tokens.revoke, token)
        assert linked == [None] or world.unlinked[-1:] == [f"s{rounds}"]
        assert len(world.book) == 0


async def test_a_lookup_that_is_overtaken_by_a_revocation_is_made_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await world.make()
    real = world.tokens.account_of
    asked: list[str | None] = []

    async def overtaken(shown: str) -> str | None:
        found = await real(shown)
        asked.append(found)
        if len(asked) == 1:
            await world.tokens.revoke(token)
        return found

    monkeypatch.setattr(world.tokens, "account_of", overtaken)
    assert await world.tokens.link("s1", token) is None
    assert asked == ["ada", None]
    assert len(world.book) == 0


async def test_news_from_another_process_unlink_at_once(world: World) -> None:
    token = await world.make()
    await world.tokens.link("s1", token)
    world.changes.heard(f"provider_token {hash_of(token)}")
    assert world.unlinked == ["s1"]


async def test_lost_news_are_made_up_for(world: World) -> None:
    token, kept = await world.make(), await world.make()
    for number in range(3):
        await world.tokens.link(f"s{number}", token)
    await world.tokens.link("kept", kept)
    sql = "UPDATE provider_tokens SET active = 0 WHERE token_hash = $1"
    await world.store.write(lambda tx: tx.execute(sql, hash_of(token)))
    world.changes.missed()
    assert world.unlinked == []
    await world.tokens.recheck()
    assert world.unlinked == ["s0", "s1", "s2"]
    assert world.book.tokens() == [hash_of(kept)]


async def test_lists_show_ids_and_no_hashes(world: World) -> None:
    first = await world.make(label="one")
    second = await world.make(label="two")
    await world.make("eve")
    await world.tokens.revoke(second)
    await world.tokens.account_of(first)
    await world.uses.flush()
    listed = await world.tokens.list("ada")
    assert [(one.label, one.active) for one in listed] == [("one", True), ("two", False)]
    assert listed[0].last_used_at == world.times.wall
    assert listed[0].id == hash_of(first)[:16]
    assert hash_of(first) not in repr(listed)


async def test_revocation_by_id_is_for_the_owner(world: World) -> None:
    token = await world.make()
    await world.tokens.link("s1", token)
    token_id = hash_of(token)[:16]
    assert not await world.tokens.revoke_by_id("eve", token_id)
    assert world.unlinked == []
    assert await world.tokens.revoke_by_id("ada", token_id)
    assert world.unlinked == ["s1"]
    assert not await world.tokens.revoke_by_id("ada", token_id)


async def test_a_session_that_links_anew_belongs_to_its_last_token(world: World) -> None:
    first, second = await world.make(), await world.make("eve")
    await world.tokens.link("s1", first)
    await world.tokens.link("s1", second)
    await world.tokens.revoke(first)
    assert world.unlinked == []
    await world.tokens.revoke(second)
    assert world.unlinked == ["s1"]
