"""Referral codes on both engines: their form, one code and one referrer for each account, and what they bring."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from server.billing.prices import Tariff
from server.rewards.referrals import ReferralInfo, Referrals, ReferralStats, normal_code
from server.store import Conflict, Invalid
from tests.testbed.books import Books


@pytest.fixture
def referrals(books: Books) -> Referrals:
    return Referrals(books.store, share_percent=20, wall_clock=lambda: books.now)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("abc", "ABC"),
        ("  my-Code-1 ", "MY-CODE-1"),
        ("A" * 20, "A" * 20),
        ("0-0", "0-0"),
        ("A" * 21, None),
        ("ab", None),
        ("-abc", None),
        ("abc-", None),
        ("äbc", None),
        ("ſſſ", "SSS"),
        ("a b", None),
        ("a_b", None),
        ("", None),
        ("ABC\n", "ABC"),
        ("A\x00B", None),
        (" " * 100 + "ABC", None),
    ],
)
def test_the_form_of_a_code(text: str, code: str | None) -> None:
    assert normal_code(text) == code


@given(st.text(max_size=80))
def test_a_code_is_its_own_normal_form(text: str) -> None:
    code = normal_code(text)
    if code is not None:
        assert normal_code(code) == code
        assert 3 <= len(code) <= 20
        assert code.isascii()


async def test_registering_again_gives_the_code_that_is_there(referrals: Referrals) -> None:
    assert await referrals.register("ann", "annie") == "ANNIE"
    assert await referrals.register("ann", "another") == "ANNIE"
    with pytest.raises(Conflict):
        await referrals.register("bob", "Annie")
    with pytest.raises(Invalid):
        await referrals.register("ann", "!")


async def test_of_many_that_want_a_code_one_gets_it(referrals: Referrals) -> None:
    got: list[str] = []

    async def want(account: str) -> None:
        try:
            await referrals.register(account, "golden")
            got.append(account)
        except Conflict:
            pass

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(want, f"account-{number}")
    assert len(got) == 1


async def test_one_account_that_registers_at_once_gets_one_code(referrals: Referrals) -> None:
    got: set[str] = set()

    async def want(code: str) -> None:
        got.add(await referrals.register("ann", code))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(want, f"code-{number}")
    assert len(got) == 1


async def test_one_referrer_for_ever(referrals: Referrals) -> None:
    await referrals.register("ann", "annie")
    await referrals.register("bob", "bobby")
    assert await referrals.bind("cara", " annie ") == "applied"
    assert await referrals.bind("cara", "ANNIE") == "applied"
    assert await referrals.bind("cara", "BOBBY") == "other"
    assert await referrals.bind("ann", "ANNIE") == "own"
    assert await referrals.bind("cara", "NOBODY") == "unknown"
    assert await referrals.bind("cara", "?") == "unknown"
    assert await referrals.info("cara") == ReferralInfo(code="", referred_by="ANNIE")
    assert await referrals.info("ann") == ReferralInfo(code="ANNIE", referred_by="")
    assert await referrals.info("dora") is None


async def test_of_two_codes_at_once_one_stays(referrals: Referrals) -> None:
    await referrals.register("ann", "annie")
    await referrals.register("bob", "bobby")
    outcomes: dict[str, str] = {}

    async def bind(code: str) -> None:
        outcomes[code] = await referrals.bind("cara", code)

    async with trio.open_nursery() as nursery:
        for code in ("ANNIE", "BOBBY"):
            nursery.start_soon(bind, code)
    assert sorted(outcomes.values()) == ["applied", "other"]
    info = await referrals.info("cara")
    assert info is not None
    assert outcomes[info.referred_by] == "applied"


async def test_deposits_ask_whether_a_code_is_known_and_apply_it_silently(referrals: Referrals) -> None:
    await referrals.register("ann", "annie")
    assert await referrals.is_known("annie")
    assert not await referrals.is_known("nobody")
    assert not await referrals.is_known("!")
    for code in ("NOBODY", "!", "ANNIE", "ANNIE"):
        await referrals.apply("cara", code)
    await referrals.apply("ann", "ANNIE")
    info = await referrals.info("cara")
    assert info == ReferralInfo(code="", referred_by="ANNIE")


async def test_what_a_code_brought(books: Books, referrals: Referrals) -> None:
    assert await referrals.stats("ann") is None
    await referrals.register("ann", "annie")
    await referrals.bind("cara", "annie")
    await referrals.bind("dora", "annie")
    books.tariff = Tariff(platform_fee_percent=10, referral_share_percent=20)
    await books.grant("cara", credit=1_000)
    await books.hold("r1", "cara", 213)
    await books.settle("r1", "cara", 213, owner="bob")
    assert await referrals.stats("ann") == ReferralStats(code="ANNIE", referred=2, rewards=4, balance=4)
    assert (await books.balance("ann")).withdrawable == 4


async def test_no_reward_for_serving_whom_one_referred(books: Books, referrals: Referrals) -> None:
    await referrals.register("ann", "annie")
    await referrals.bind("cara", "annie")
    books.tariff = Tariff(platform_fee_percent=10, referral_share_percent=20)
    await books.grant("cara", credit=1_000)
    await books.hold("r1", "cara", 213)
    await books.settle("r1", "cara", 213, owner="ann")
    stats = await referrals.stats("ann")
    assert stats is not None
    assert (stats.rewards, stats.balance) == (0, 192)


async def test_the_general_fee_of_0_brings_nothing(books: Books, referrals: Referrals) -> None:
    await referrals.register("ann", "annie")
    await referrals.bind("cara", "annie")
    await books.grant("cara", credit=1_000)
    await books.hold("r1", "cara", 500)
    await books.settle("r1", "cara", 500, owner="bob")
    stats = await referrals.stats("ann")
    assert stats is not None
    assert stats.rewards == 0
