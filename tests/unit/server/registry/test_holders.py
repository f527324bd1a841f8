"""Who holds which beginnings: bounded in every direction, forgotten in time, shown to nobody."""

from __future__ import annotations

import tracemalloc

from server.registry import PrefixKey
from server.registry.holders import ENTERED_MAX, HOLDERS_MAX, KEYS_MAX, SWEPT_MAX, Holders

TTL = 600.0
KEY_BYTES = 220
"""Most of a key with one holder, its part of the tables included."""


def key(name: str, tokens: int = 256) -> PrefixKey:
    return PrefixKey(name.encode(), tokens)


A, B = key("a"), key("b", 512)


def fill(holders: Holders, number: int, build: str = "m") -> None:
    """Enter so many keys, eight of each prompt, at the moment 2."""
    for begin in range(0, number, ENTERED_MAX):
        keys = [PrefixKey(one.to_bytes(16), 256) for one in range(begin, min(number, begin + ENTERED_MAX))]
        holders.confirm(build, keys, "two", 2.0)


def test_a_confirmed_session_holds_every_key_of_the_prompt_until_it_expires() -> None:
    holders = Holders(TTL)
    holders.confirm("m", (A, B), "one", 0.0)
    assert holders.of("m", A, TTL - 1) == holders.of("m", B, TTL - 1) == ("one",)
    assert holders.of("m", A, TTL) == ()


def test_builds_share_nothing() -> None:
    holders = Holders(TTL)
    holders.confirm("m", (A,), "one", 0.0)
    assert holders.of("n", A, 0.0) == ()


def test_use_renews_a_holder() -> None:
    holders = Holders(TTL)
    holders.confirm("m", (A,), "one", 0.0)
    holders.confirm("m", (A,), "two", 10.0)
    holders.confirm("m", (A,), "one", 500.0)
    assert holders.of("m", A, 500.0) == ("two", "one")
    assert holders.of("m", A, 1_000.0) == ("one",)


def test_a_key_has_few_holders_and_the_oldest_makes_room() -> None:
    holders = Holders(TTL)
    for number in range(HOLDERS_MAX + 2):
        holders.confirm("m", (A,), f"s{number}", float(number))
    assert holders.of("m", A, 10.0) == ("s2", "s3", "s4", "s5")


def test_keys_are_bounded_and_the_oldest_leave() -> None:
    holders = Holders(TTL)
    holders.confirm("m", (A, B), "one", 0.0)
    holders.confirm("m", (A,), "one", 1.0)
    fill(holders, KEYS_MAX - 2)
    assert len(holders) == KEYS_MAX
    assert (holders.of("m", A, 2.0), holders.of("m", B, 2.0)) == (("one",), ("one",))
    fill(holders, KEYS_MAX - 1)
    assert len(holders) == KEYS_MAX
    assert (holders.of("m", A, 2.0), holders.of("m", B, 2.0)) == (("one",), ())


def test_keys_are_small() -> None:
    holders, number = Holders(TTL), KEYS_MAX // 8
    tracemalloc.start()
    try:
        fill(holders, number, build="a-model-of-20b-in-4-bits")
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < KEY_BYTES * number


def test_an_answer_enters_its_longest_beginnings_alone() -> None:
    holders = Holders(TTL)
    keys = [key(str(number), number) for number in range(20)]
    holders.confirm("m", keys, "one", 0.0)
    assert [one.tokens for one in keys if holders.of("m", one, 0.0)] == list(range(20 - ENTERED_MAX, 20))


def test_what_is_forgotten_leaves_nothing_behind() -> None:
    holders = Holders(TTL)
    holders.confirm("m", (A, B), "one", 0.0)
    holders.confirm("m", (A,), "two", 0.0)
    holders.forget("m", (A, B, key("never")), "one")
    assert holders.of("m", A, 0.0) == ("two",)
    assert len(holders) == 1


def test_a_sweep_drops_what_expired() -> None:
    holders = Holders(TTL)
    holders.confirm("m", (A,), "one", 0.0)
    holders.confirm("m", (B,), "one", 5.0)
    holders.sweep(TTL)
    assert len(holders) == 1
    holders.sweep(TTL + 5.0)
    assert len(holders) == 0


def test_a_sweep_of_many_stops_and_goes_on() -> None:
    holders = Holders(TTL)
    fill(holders, SWEPT_MAX + 1)
    assert holders.sweep(TTL + 2.0)
    assert len(holders) == 1
    assert not holders.sweep(TTL + 2.0)
    assert len(holders) == 0


def test_nothing_of_a_key_is_shown() -> None:
    holders = Holders(TTL)
    holders.confirm("m", (key("canary"),), "one", 0.0)
    assert "canary" not in f"{holders!r} {key('canary')!r}"
