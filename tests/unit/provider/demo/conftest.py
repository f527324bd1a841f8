"""The corpus of the demo model and its judged answers, made once for all tests of this folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from provider.demo import demo_model_path
from provider.demo.training.corpus import Topic, load_corpus
from provider.demo.training.judge import Judged, judge_model
from tests.conftest import FULL

FOLDER = demo_model_path().parent


@pytest.fixture(scope="session")
def demo_folder() -> Path:
    return FOLDER


@pytest.fixture(scope="session")
def taught() -> tuple[Topic, ...]:
    return load_corpus(FOLDER / "qa.toml")


@pytest.fixture(scope="session")
def unseen() -> tuple[Topic, ...]:
    return load_corpus(FOLDER / "eval.toml")


@pytest.fixture(scope="session")
def asked(unseen: tuple[Topic, ...]) -> tuple[Topic, ...]:
    """Every third unseen phrasing, in the long run all of them."""
    return unseen if FULL else tuple(replace(topic, phrasings=topic.phrasings[::3]) for topic in unseen)


@pytest.fixture(scope="session")
def answers(taught: tuple[Topic, ...]) -> dict[str, str]:
    return {topic.name: topic.answer for topic in taught}


@pytest.fixture(scope="session")
def judged(asked: tuple[Topic, ...], answers: dict[str, str]) -> list[Judged]:
    """Greedy answers of the committed weights to unseen phrasings."""
    return judge_model(demo_model_path(), asked, answers)
