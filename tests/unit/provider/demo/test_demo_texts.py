"""The hand-written texts of the demo model: enough of them, and the unseen ones really unseen."""

from __future__ import annotations

from provider.demo.training.corpus import FALLBACK, Topic, normalised
from provider.demo.training.judge import LABEL_CHARACTERS


def test_there_are_sixty_topics_with_fifteen_phrasings_each(taught: tuple[Topic, ...]) -> None:
    topics = [topic for topic in taught if topic.name != FALLBACK]
    assert len(topics) >= 60
    assert not [topic.name for topic in topics if len(topic.phrasings) < 15]


def test_fallback_has_three_hundred_prompts(taught: tuple[Topic, ...]) -> None:
    assert taught[0].name == FALLBACK
    assert len(taught[0].phrasings) >= 300
    assert taught[0].answer.startswith("I am a tiny demo model")


def test_no_prompt_is_taught_twice(taught: tuple[Topic, ...]) -> None:
    prompts = [normalised(phrasing) for topic in taught for phrasing in topic.phrasings]
    assert sorted(prompts) == sorted(set(prompts))


def test_every_topic_is_judged_by_two_unseen_phrasings(taught: tuple[Topic, ...], unseen: tuple[Topic, ...]) -> None:
    counts = {topic.name: len(topic.phrasings) for topic in unseen}
    assert counts == {FALLBACK: 50} | {topic.name: 2 for topic in taught if topic.name != FALLBACK}


def test_unseen_phrasings_are_not_taught(taught: tuple[Topic, ...], unseen: tuple[Topic, ...]) -> None:
    known = {normalised(phrasing) for topic in taught for phrasing in topic.phrasings}
    assert not [phrasing for topic in unseen for phrasing in topic.phrasings if normalised(phrasing) in known]


def test_answers_differ_in_the_characters_that_are_compared(taught: tuple[Topic, ...]) -> None:
    assert len({topic.answer[:LABEL_CHARACTERS] for topic in taught}) == len(taught)


def test_answers_are_short_ascii_sentences(taught: tuple[Topic, ...]) -> None:
    for topic in taught:
        assert topic.answer.isascii()
        assert topic.answer.endswith((".", "!"))
        assert 40 <= len(topic.answer) <= 240
