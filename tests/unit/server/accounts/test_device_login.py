"""Linking a machine: the state machine with its clock, its races, and what a stranger may send."""

from __future__ import annotations

from collections import Counter

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from server.accounts import device_login
from server.accounts.credentials import hash_of
from server.accounts.device_login import DeviceLogin, LinkedMachine, PendingLogin, printable
from server.accounts.user_code import ALPHABET, new_user_code, normal_user_code
from server.store import Conflict, Store
from tests.unit.server.accounts.people import Times


class World:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.times = Times()
        self.device = DeviceLogin(store, wall_clock=self.times.wall_clock)

    async def tokens(self) -> int:
        return int(str(await self.store.read(lambda tx: tx.value("SELECT COUNT(*) FROM provider_tokens"))))


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


def test_codes_have_31_symbols_that_do_not_look_alike() -> None:
    assert len(set(ALPHABET)) == 31
    assert not set("01OIL") & set(ALPHABET)
    codes = {new_user_code() for _ in range(500)}
    assert len(codes) == 500
    assert all(len(code) == 9 and code[4] == "-" for code in codes)


@pytest.mark.parametrize(
    "typed", ["ABCD-2345", "abcd2345", " abcd 2345 ", "AbCd--2345", "a b c d 2 3 4 5", "ABCD‐2345"]
)
def test_typed_codes_are_read_kindly(typed: str) -> None:
    assert normal_user_code(typed) == "ABCD-2345"


@pytest.mark.parametrize("typed", ["", "ABCD-234", "ABCD-23456", "0000-0000", "ABCD-1234", "\x00", "-" * 500])
def test_what_is_no_code_is_none(typed: str) -> None:
    assert normal_user_code(typed) is None


@given(st.text(max_size=100))
def test_any_typed_text_is_a_code_or_none(typed: str) -> None:
    code = normal_user_code(typed)
    assert code is None or (len(code) == 9 and set(code) <= set(ALPHABET) | {"-"})


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("mac\x1b[31m\nmini", "mac[31mmini"),
        ("x" * 100, "x" * 64),
        (5, ""),
        (None, ""),
        ("\u202emini", "mini"),
        ("é", "é"),
    ],
)
def test_labels_of_strangers_are_made_printable(sent: object, shown: str) -> None:
    assert printable(sent) == shown


async def test_the_way_of_a_login(world: World) -> None:
    started = await world.device.start(client_label="mac mini", chip="M4", region="203.0.113.0/24")
    assert len(started.device_code) == 64
    assert await world.device.poll(started.device_code) == "authorization_pending"
    shown = await world.device.pending(started.user_code.lower())
    assert isinstance(shown, PendingLogin)
    assert (shown.client_label, shown.chip, shown.region) == ("mac mini", "M4", "203.0.113.0/24")
    assert shown.expires_at - shown.created_at == 900_000_000
    assert await world.device.approve(started.user_code.replace("-", "").lower(), "ada") == "done"
    found = await world.device.poll(started.device_code)
    assert isinstance(found, LinkedMachine)
    assert found.account_id == "ada"
    assert await world.device.poll(started.device_code) == "invalid_grant"
    rows = await world.store.read(lambda tx: tx.fetch("SELECT * FROM provider_tokens"))
    assert rows[0]["token_hash"] == hash_of(found.token)
    assert rows[0]["label"] == f"device-{started.user_code}"


async def test_only_hashes_of_device_codes_are_stored_and_nothing_shows_them(world: World) -> None:
    started = await world.device.start()
    rows = [dict(row) for row in await world.store.read(lambda tx: tx.fetch("SELECT * FROM device_codes"))]
    assert started.device_code not in repr(rows)
    await world.device.approve(started.user_code, "ada")
    found = await world.device.poll(started.device_code)
    assert isinstance(found, LinkedMachine)
    for secret in (started.device_code, started.user_code, found.token):
        assert secret not in repr((started, found))


async def test_second_approval_is_told_that_the_code_is_used(world: World) -> None:
    started = await world.device.start()
    assert await world.device.approve(started.user_code, "ada") == "done"
    assert await world.device.approve(started.user_code, "eve") == "already_used"
    found = await world.device.poll(started.device_code)
    assert isinstance(found, LinkedMachine)
    assert found.account_id == "ada"
    assert await world.device.pending(started.user_code) == "already_used"


async def test_of_concurrent_decisions_one_counts(world: World) -> None:
    started = await world.device.start()
    outcomes: Counter[str] = Counter()

    async def decide(number: int) -> None:
        if number % 2:
            outcomes[await world.device.approve(started.user_code, f"account{number}")] += 1
        else:
            outcomes[await world.device.deny(started.user_code)] += 1

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(decide, number)
    assert outcomes == {"done": 1, "already_used": 9}


async def test_twenty_concurrent_polls_get_one_token(world: World) -> None:
    started = await world.device.start()
    await world.device.approve(started.user_code, "ada")
    outcomes: list[object] = []

    async def poll() -> None:
        outcomes.append(await world.device.poll(started.device_code))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(poll)
    assert sum(isinstance(one, LinkedMachine) for one in outcomes) == 1
    assert outcomes.count("invalid_grant") == 19
    assert await world.tokens() == 1


async def test_too_fast_polls_are_told_to_slow_down_and_do_not_move_the_time(world: World) -> None:
    started = await world.device.start()
    assert await world.device.poll(started.device_code) == "authorization_pending"
    for _ in range(3):
        world.times.go(1)
        assert await world.device.poll(started.device_code) == "slow_down"
    world.times.go(1)
    assert await world.device.poll(started.device_code) == "authorization_pending"


async def test_an_approved_machine_need_not_wait(world: World) -> None:
    started = await world.device.start()
    await world.device.poll(started.device_code)
    await world.device.approve(started.user_code, "ada")
    assert isinstance(await world.device.poll(started.device_code), LinkedMachine)


async def test_a_denied_machine_learns_it(world: World) -> None:
    started = await world.device.start()
    assert await world.device.deny(started.user_code) == "done"
    assert await world.device.poll(started.device_code) == "access_denied"
    assert await world.device.approve(started.user_code, "ada") == "already_used"
    assert await world.tokens() == 0


@pytest.mark.parametrize("approved", [False, True])
async def test_fifteen_minutes_and_a_second_are_too_late(world: World, approved: bool) -> None:
    started = await world.device.start()
    if approved:
        await world.device.approve(started.user_code, "ada")
    world.times.go(901)
    assert await world.device.poll(started.device_code) == "expired_token"
    assert await world.device.approve(started.user_code, "ada") == ("already_used" if approved else "expired_code")
    assert await world.tokens() == 0


async def test_the_last_second_is_in_time(world: World) -> None:
    started = await world.device.start()
    world.times.go(899)
    assert await world.device.approve(started.user_code, "ada") == "done"
    assert isinstance(await world.device.poll(started.device_code), LinkedMachine)


async def test_unknown_codes(world: World) -> None:
    assert await world.device.approve("ABCD-2345", "ada") == "invalid_code"
    assert await world.device.approve("nonsense", "ada") == "invalid_code"
    assert await world.device.pending("ABCD-2345") == "invalid_code"
    for code in ("", "0" * 64, "\x00" * 64, "' OR 1=1"):
        assert await world.device.poll(code) == "invalid_grant"


async def test_a_taken_user_code_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = iter(["ABCD-2345", "ABCD-2345", "ABCD-2345", "EFGH-2345"])
    monkeypatch.setattr(device_login, "new_user_code", lambda: next(codes))
    assert (await world.device.start()).user_code == "ABCD-2345"
    assert (await world.device.start()).user_code == "EFGH-2345"


async def test_five_taken_codes_are_enough(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_login, "new_user_code", lambda: "ABCD-2345")
    await world.device.start()
    with pytest.raises(Conflict):
        await world.device.start()


async def test_the_sweep_deletes_what_ended_an_hour_ago(world: World) -> None:
    old = await world.device.start()
    world.times.go(3600)
    young = await world.device.start()
    world.times.go(901)
    assert await world.device.sweep() == 1
    assert await world.device.poll(old.device_code) == "invalid_grant"
    assert await world.device.poll(young.device_code) == "expired_token"
