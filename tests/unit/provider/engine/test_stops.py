import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.engine.stops import StopMatcher


@pytest.mark.parametrize(
    ("stops", "pieces", "emitted", "matched"),
    [
        (("STOP",), ["S", "TO", "x ST", "OP y"], ["", "", "STOx ", ""], "STOP"),
        (("\n\n",), ["a\n", "\nb"], ["a", ""], "\n\n"),
        (("ing",), ["run", "ning."], ["run", "n"], "ing"),
        (("ab", "abc"), ["xa", "bc"], ["x", ""], "abc"),
        (("aab",), ["aa", "aab"], ["", "aa"], "aab"),
    ],
)
def test_stop_vectors(stops, pieces, emitted, matched):
    matcher = StopMatcher(stops)
    assert [matcher.feed(piece) for piece in pieces] == emitted
    assert matcher.matched == matched


def test_flush_returns_what_was_held():
    matcher = StopMatcher(("STOP",))
    assert matcher.feed("go ST") == "go "
    assert matcher.flush() == "ST"
    assert matcher.matched is None


def test_held_text_is_the_longest_possible_beginning():
    matcher = StopMatcher(("xyz", "yz!"))
    assert matcher.feed("axy") == "a"
    assert matcher.feed("z") == ""
    assert matcher.matched == "xyz"


@given(st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=4), st.text("abc", max_size=30), st.data())
def test_any_split_shows_the_text_before_the_first_possible_stop(stops, text, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    matcher = StopMatcher(tuple(stops))
    shown = ""
    for piece in pieces:
        shown += matcher.feed(piece)
        if matcher.matched is not None:
            break
    else:
        shown += matcher.flush()
    places = [text.find(stop) for stop in stops if stop in text]
    if matcher.matched is None:
        assert places == []
        assert shown == text
    else:
        assert text.startswith(shown + matcher.matched)
        assert not any(stop in shown for stop in stops)
        one_piece = StopMatcher(tuple(stops))
        assert len(shown) >= len(one_piece.feed(text))
