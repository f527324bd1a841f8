"""The judge of JSON pieces, against a complete parser."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.api.json_prefix import MAX_DEPTH, JsonPrefix

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def feed(*pieces: str) -> tuple[JsonPrefix, str]:
    judge = JsonPrefix()
    return judge, "".join([judge.feed(piece) for piece in pieces])


@given(_VALUES, st.integers(1, 7), st.sampled_from([None, 1]), st.booleans())
def test_every_valid_value_passes_whole_however_it_is_cut(
    value: object, step: int, indent: int | None, escaped: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=escaped)
    judge, passed = feed(*[text[place : place + step] for place in range(0, len(text), step)])
    assert passed == text
    assert not judge.broken
    assert judge.complete or isinstance(value, (int, float))


@given(st.text(st.sampled_from('{}[],:"\\ax019-+.eEtrufalsn \n'), max_size=14))
def test_verdict_equals_a_parsers(text: str) -> None:
    judge, passed = feed(*text)
    assert text.startswith(passed)
    closed, _ = feed(text, " ")  # a blank ends a number
    try:
        json.loads(text)
    except ValueError:
        assert not closed.complete
    else:
        assert passed == text
        assert closed.complete
    assert judge.broken == (passed != text)


@given(st.text(st.sampled_from('{}[],:"\\ax019-+.eEtrufalsn '), max_size=14))
def test_pieces_change_nothing_but_where_a_wrong_number_is_noticed(text: str) -> None:
    by_character, _ = feed(*text)
    whole, _ = feed(text)
    assert by_character.broken == whole.broken
    assert by_character.complete == whole.complete


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ('{"a": 1, b: 2}', '{"a": 1, '),
        ("{a", "{"),
        ('{"a" 1}', '{"a" '),
        ('{"a": nul!}', '{"a": nul'),
        ('"a\x01b"', '"a'),
        ('"\\q"', '"\\'),
        ('"\\u00g0"', '"\\u00'),
        ("[1}", "[1"),
        ("{} {}", "{} "),
        ("01", ""),
        ("]", ""),
        ("١", ""),
    ],
)
def test_nothing_behind_the_first_wrong_character_passes(text: str, passed: str) -> None:
    judge, found = feed(text)
    assert found == passed
    assert judge.broken
    assert judge.feed("1") == ""


def test_depth_and_length_of_numbers_are_bounded() -> None:
    judge, passed = feed("[" * (MAX_DEPTH + 1))
    assert judge.broken
    assert len(passed) == MAX_DEPTH
    assert feed("[1", "0" * 5000)[0].broken
