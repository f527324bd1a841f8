"""Variations of prompts are repeatable, never empty, and keep small talk free of added questions."""

from __future__ import annotations

import random

from provider.demo.training.corpus import Topic
from provider.demo.training.variation import OPENINGS, Variations


def _sample(taught: tuple[Topic, ...], seed: int) -> list[str]:
    variations = Variations(taught, random.Random(seed))
    return [variations.of_topic(topic) for topic in taught[1:]] + [variations.off_topic() for _ in range(200)]


def test_same_seed_gives_the_same_prompts(taught: tuple[Topic, ...]) -> None:
    assert _sample(taught, 1) == _sample(taught, 1)
    assert _sample(taught, 1) != _sample(taught, 2)


def test_no_variation_is_empty(taught: tuple[Topic, ...]) -> None:
    assert all(prompt.strip() for seed in range(5) for prompt in _sample(taught, seed))


def test_most_variations_are_new_wordings(taught: tuple[Topic, ...]) -> None:
    variations = Variations(taught, random.Random(5))
    topic = next(topic for topic in taught if topic.name == "install")
    made = {variations.of_topic(topic) for _ in range(300)}
    assert len(made - set(topic.phrasings)) > 150


def test_small_talk_gets_no_opening(taught: tuple[Topic, ...]) -> None:
    variations = Variations(taught, random.Random(5))
    topic = Topic("goodbye", "", ("farewell",))
    made = [variations.of_topic(topic).lower() for _ in range(200)]
    assert not [text for text in made if text.startswith(tuple(OPENINGS))]


def test_displaced_prompt_keeps_only_common_words(taught: tuple[Topic, ...]) -> None:
    variations = Variations(taught, random.Random(5))
    words = variations._displaced("how do i install darkbloom on linux").split()
    assert words[:3] == ["how", "do", "i"]
    assert "install" not in words
    assert "linux" not in words
