"""Corpus files are read line by line, and a topic that is named twice is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from provider.demo.training.corpus import Topic, load_corpus, normalised


def test_phrasings_are_the_lines_of_a_topic(tmp_path: Path) -> None:
    path = tmp_path / "qa.toml"
    path.write_text(
        "[fallback]\nanswer = 'No.'\nphrasings = '''\na\n'''\n"
        "[[topic]]\nname = 'x'\nanswer = 'Yes.'\nphrasings = '''\n  one \n\ntwo\n'''\n"
    )
    assert load_corpus(path) == (Topic("fallback", "No.", ("a",)), Topic("x", "Yes.", ("one", "two")))


def test_topic_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "qa.toml"
    topic = "[[topic]]\nname = 'x'\nphrasings = 'a'\n"
    path.write_text("[fallback]\nphrasings = 'a'\n" + topic + topic)
    with pytest.raises(ValueError, match=r"qa\.toml names the topic 'x' twice; merge the two or rename one"):
        load_corpus(path)


def test_normalised_text_ignores_case_and_marks() -> None:
    assert normalised(" What IS it?! ") == "what is it"
    assert normalised("...") == "..."
