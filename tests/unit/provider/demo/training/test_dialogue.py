"""Training rows weigh only what the model says, and batches shift the targets by one."""

from __future__ import annotations

import random

import numpy as np
import pytest
from tokenizers import Tokenizer

from provider.demo import demo_model_path
from provider.demo.training.corpus import Topic
from provider.demo.training.dialogue import Dialogues, Row, padded_batch

TOKENIZER = Tokenizer.from_file(str(demo_model_path() / "tokenizer.json"))


@pytest.fixture
def dialogues(taught: tuple[Topic, ...]) -> Dialogues:
    return Dialogues(taught, TOKENIZER, random.Random(3))


def test_deciding_row_ends_with_the_label_of_a_topic(dialogues: Dialogues) -> None:
    for _ in range(50):
        row = dialogues.deciding()
        said = tuple(token for token, weight in zip(row.tokens, row.weights, strict=True) if weight)
        assert said in {tuple(dialogues.answers[name][:length]) for name, length in dialogues.labels.items()}
        assert row.tokens[-len(said) - 1] == dialogues.assistant


def test_labels_are_the_shortest_unique_beginnings(dialogues: Dialogues) -> None:
    labels = [tuple(dialogues.answers[name][:length]) for name, length in dialogues.labels.items()]
    assert len(set(labels)) == len(labels)
    assert max(dialogues.labels.values()) <= 6


def test_reciting_row_ends_with_a_whole_answer(dialogues: Dialogues) -> None:
    whole = {tuple(answer) for answer in dialogues.answers.values()}
    kinds = set()
    for _ in range(80):
        row = dialogues.reciting()
        start = len(row.tokens) - row.tokens[::-1].index(dialogues.assistant)
        assert row.tokens[start:] in whole
        assert not any(row.weights[:start])
        kinds.add(row.weights[start])
    assert kinds == {0.0, Dialogues.LABEL_WEIGHT}


def test_later_question_weighs_only_its_own_label(dialogues: Dialogues) -> None:
    row = dialogues.deciding_later()
    assert row.tokens.count(dialogues.assistant) >= 2
    assert 1 <= sum(weight > 0 for weight in row.weights) <= 6


def test_cut_text_is_the_same_text(dialogues: Dialogues) -> None:
    text = " how do I install darkbloom on my laptop"
    cuts = {tuple(dialogues._encode_cut(text)) for _ in range(20)}
    assert len(cuts) > 1
    assert {TOKENIZER.decode(list(ids)) for ids in cuts} == {text}


def test_padded_batch_shifts_targets_by_one() -> None:
    rows = [Row((5, 6, 7), (0.0, 0.0, 2.0)), Row((8, 9), (0.0, 1.0))]
    tokens, targets, weights = padded_batch(rows, 0)
    np.testing.assert_array_equal(tokens, [[5, 6], [8, 9]])
    np.testing.assert_array_equal(targets, [[6, 7], [9, 0]])
    np.testing.assert_array_equal(weights, [[0.0, 2.0], [1.0, 0.0]])
