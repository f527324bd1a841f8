"""Think blocks: complete texts, and the same text in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.api.think import ThinkSplitter, split_think


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>a</think>b", ("b", "a")),
        ("x<THINK> a </THINK>\n y<think>z", ("xy", "a\n\nz")),
        (" plain ", (" plain ", "")),
        ("<think>only", ("", "only")),
        ("<think></think>x", ("x", "")),
    ],
)
def test_split_think_cases(text: str, expected: tuple[str, str]) -> None:
    assert split_think(text) == expected


def test_splitter_holds_back_a_partial_tag() -> None:
    splitter = ThinkSplitter()
    pieces = [splitter.feed(piece) for piece in ("Hi <th", "ink>rea", "son</thi", "nk>ans")]
    assert pieces == [("Hi", ""), ("", "rea"), ("", "son"), (" ans", "")]
    assert splitter.flush() == ("", "")


_TEXT = st.lists(
    st.sampled_from(["<think>", "</think>", "<", "</thi", " ", "\n", "a", "é", "<THINK>", "b c", "İ"]), max_size=12
).map("".join)


@given(_TEXT, st.lists(st.integers(1, 5), min_size=1, max_size=8))
def test_splitter_pieces_equal_the_whole(text: str, sizes: list[int]) -> None:
    splitter = ThinkSplitter()
    visible, reasoning, place, turn = "", "", 0, 0
    while place < len(text):
        size = sizes[turn % len(sizes)]
        more = splitter.feed(text[place : place + size])
        visible, reasoning = visible + more[0], reasoning + more[1]
        place, turn = place + size, turn + 1
    more = splitter.flush()
    whole = split_think(text)
    assert (visible + more[0]).lstrip() == whole[0].lstrip()
    assert reasoning + more[1] == whole[1]
