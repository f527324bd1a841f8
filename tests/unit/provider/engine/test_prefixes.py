"""Stored prefixes: what is found, for whom, and what gives way."""

import pytest

from provider.engine.events import CacheOutcome
from provider.engine.prefixes import IDLE_SECONDS, PrefixStore

LONG = tuple(range(100))
OTHER = tuple(range(500, 600))


class Backend:
    """Copies are lists; `can_trim` False is a kind of cache that serves whole entries alone."""

    def __init__(self, can_trim=True):
        self.can_trim = can_trim

    def copy_prefix(self, cache, drop):
        return None if drop and not self.can_trim else [*cache, drop]


class Shelf:
    """A store with room for three entries of 10 bytes."""

    def __init__(self, can_trim=True, room=30):
        self.store = PrefixStore()
        self.store.room = room
        self.backend = Backend(can_trim)
        self.now = 0.0

    def put(self, tokens, scope="a", model="m", size=10, **options):
        return self.store.put(model, scope, tokens, ["kv"], size, now=self.now, **options)

    def find(self, prompt, scope="a", model="m"):
        return self.store.find(model, scope, prompt, self.backend, self.now)


@pytest.fixture
def shelf():
    return Shelf()


def test_the_longest_common_beginning_is_found(shelf):
    shelf.put(LONG[:80] + OTHER)
    shelf.put(LONG[:90] + OTHER)
    found = shelf.find(LONG)
    assert (found.outcome, found.covered) == (CacheOutcome.HIT, 90)
    assert found.cache == ["kv", 100]


def test_one_token_is_always_left_to_compute(shelf):
    shelf.put(LONG)
    assert shelf.find(LONG).covered == 99


@pytest.mark.parametrize(("scope", "model"), [("b", "m"), ("a", "n"), ("", "m")])
def test_nothing_is_found_across_scopes_and_models(shelf, scope, model):
    shelf.put(LONG)
    assert shelf.find(LONG, scope=scope, model=model).cache is None


def test_without_a_scope_nothing_is_stored(shelf):
    assert not shelf.put(LONG, scope="")
    assert len(shelf.store) == 0
    assert shelf.find(LONG, scope="").outcome is CacheOutcome.NONE


def test_a_short_beginning_is_not_worth_it(shelf):
    shelf.put(LONG[:63] + OTHER)
    assert shelf.find(LONG).outcome is CacheOutcome.COST
    assert shelf.find(OTHER).outcome is CacheOutcome.ABSENT
    assert not shelf.put(LONG[:63])


def test_what_cannot_be_trimmed_serves_only_whole():
    shelf = Shelf(can_trim=False)
    shelf.put(LONG)
    assert shelf.find(LONG).cache is None
    assert shelf.find(LONG + OTHER).covered == 100


def test_a_continuation_takes_the_place_of_what_it_continues(shelf):
    shelf.put(LONG)
    shelf.put(LONG + OTHER)
    assert len(shelf.store) == 1
    assert not shelf.put(LONG)
    assert (len(shelf.store), shelf.store.bytes) == (1, 10)


def test_entries_that_serve_only_whole_stand_beside_what_continues_them():
    shelf = Shelf(can_trim=False)
    assert [shelf.put(tokens, whole=True) for tokens in (LONG, LONG + OTHER, LONG[:80], LONG)] == [True] * 3 + [False]
    assert [shelf.find((*LONG[:length], 999)).covered for length in (80, 90, 100)] == [80, 80, 100]
    assert shelf.find((*LONG, *OTHER, 999)).covered == 200


def test_the_least_recently_used_entry_gives_way(shelf):
    prompts = [(number, *LONG) for number in range(4)]
    for prompt in prompts[:3]:
        shelf.put(prompt)
    shelf.find(prompts[0])
    shelf.put(prompts[3])
    assert [shelf.find(prompt).outcome is CacheOutcome.HIT for prompt in prompts] == [True, False, True, True]
    assert shelf.store.bytes == 30


def test_an_entry_beyond_the_room_is_not_stored(shelf):
    shelf.put(LONG)
    assert not shelf.put(OTHER, size=31)
    assert shelf.store.bytes == 10


def test_idle_entries_are_forgotten(shelf):
    shelf.put(LONG)
    shelf.put(OTHER)
    shelf.now = IDLE_SECONDS - 1
    shelf.find(LONG)
    shelf.now = IDLE_SECONDS
    shelf.store.forget_idle(shelf.now)
    assert shelf.find(OTHER).cache is None
    assert shelf.find(LONG).cache is not None


def test_a_model_takes_its_entries_with_it(shelf):
    shelf.put(LONG)
    shelf.put(LONG, model="n")
    shelf.store.forget_model("m")
    assert shelf.find(LONG).cache is None
    assert shelf.find(LONG, model="n").cache is not None
    shelf.store.shrink(0)
    assert (len(shelf.store), shelf.store.bytes) == (0, 0)
