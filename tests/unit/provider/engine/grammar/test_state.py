"""Where a constraint begins and what it permits, with a matcher that spells one word."""

import pytest

from provider.engine.grammar.plan import AT_ONCE, Begin, Grammar
from provider.engine.grammar.state import GrammarBroken, GrammarState

SIZE, END, OPEN, CLOSE = 20, 15, 16, 17


class Speller:
    """Permits the tokens 1, 2, 3 in this order, then nothing."""

    def __init__(self, at=0):
        self.at = at

    def deep_copy(self):
        return Speller(self.at)

    def consume_token(self, token):
        self.at += 1
        return token == self.at

    def compute_bitmask(self):
        return (1 << (self.at + 1)).to_bytes(4, "little")

    def is_accepting(self):
        return self.at >= 2

    def is_stopped(self):
        return self.at >= 3


def state(begin=AT_ONCE, end=frozenset({END})):
    return Grammar(Speller(), begin).begin_row(SIZE, end)


def allowed(state):
    mask = state.allowed()
    return None if mask is None else {int(token) for token in mask.nonzero()[0]}


def test_the_end_is_permitted_only_where_the_text_may_end():
    row = state()
    assert allowed(row) == {1}
    row.advance(1)
    assert allowed(row) == {2}
    row.advance(2)
    assert allowed(row) == {3, END}
    row.advance(3)
    assert allowed(row) == {END}
    row.advance(END)
    assert allowed(row) == {END}


def test_asking_twice_changes_nothing():
    row = state()
    assert allowed(row) == allowed(row) == {1}


def test_reasoning_that_the_prompt_began_is_free():
    row = state(Begin(opens=(OPEN,), closes=(CLOSE, 18), is_open=True))
    for token in (5, 6, CLOSE, 5, CLOSE):
        assert allowed(row) is None
        row.advance(token)
    row.advance(18)
    assert allowed(row) == {1}


def test_reasoning_may_be_opened_or_left_out():
    begin = Begin(opens=(OPEN,), closes=(CLOSE,))
    row = state(begin)
    assert allowed(row) == {1, OPEN}
    row.advance(1)
    assert allowed(row) == {2}
    row = state(begin)
    row.advance(OPEN)
    assert allowed(row) is None
    row.advance(CLOSE)
    assert allowed(row) == {1}


def test_a_framed_answer_is_free_until_its_frame():
    row = state(Begin(closes=(CLOSE,)))
    assert allowed(row) is None
    row.advance(CLOSE)
    assert allowed(row) == {1}


def test_ids_beyond_the_logits_are_left_out():
    assert allowed(state(end=frozenset({END, 99}))) == {1}


def test_a_token_that_was_not_allowed_breaks_the_state():
    row = state()
    with pytest.raises(GrammarBroken, match="refused a token"):
        row.advance(7)


def test_a_grammar_that_allows_nothing_is_broken():
    class Mute(Speller):
        def compute_bitmask(self):
            return bytes(4)

    with pytest.raises(GrammarBroken, match="allows no token"):
        GrammarState(Mute(), size=SIZE, end_tokens=frozenset({END})).allowed()
    row = GrammarState(Mute(), size=SIZE, end_tokens=frozenset({END}))
    assert {int(token) for token in row.ended().nonzero()[0]} == {END}
