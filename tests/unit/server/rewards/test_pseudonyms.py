"""Names that tell nothing."""

from __future__ import annotations

import re

from server.billing.leaderboard import pseudonym
from server.rewards.pseudonyms import ADJECTIVES, ANIMALS, readable

SECRET = b"k" * 32


def test_a_name_is_two_words_and_four_digits() -> None:
    assert readable("000000000000") == f"{ADJECTIVES[0]}-{ANIMALS[0]}-0000"
    assert readable("000100020003ffff") == f"{ADJECTIVES[1]}-{ANIMALS[2]}-0003"
    assert readable("0000" + "0000" + "ffff") == f"{ADJECTIVES[0]}-{ANIMALS[0]}-5535"


def test_names_are_stable_differ_and_depend_on_the_secret() -> None:
    names = {readable(pseudonym(SECRET, f"account-{number}")) for number in range(1_000)}
    assert len(names) > 990
    assert all(re.fullmatch(r"[a-z]+-[a-z]+-\d{4}", name) for name in names)
    assert readable(pseudonym(SECRET, "ann")) == readable(pseudonym(SECRET, "ann"))
    assert readable(pseudonym(SECRET, "ann")) != readable(pseudonym(b"other", "ann"))


def test_the_words_are_many_and_different() -> None:
    for words in (ADJECTIVES, ANIMALS):
        assert len(set(words)) == len(words) >= 90
        assert all(word.isascii() and word.isalpha() and word.islower() for word in words)
