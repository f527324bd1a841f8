"""Judges a model directory against `eval.toml`: greedy answers through mlx-lm, compared with the known answers."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlx_lm

from provider.demo.training.corpus import FALLBACK, Topic

LABEL_CHARACTERS = 40
KNOWN_RATIO = 0.9
MAX_ANSWER_TOKENS = 96


@dataclass(frozen=True)
class Judged:
    """One greedy answer: the topic that was asked, the topic that the answer starts like, and how near it is."""

    asked: str
    prompt: str
    text: str
    answered: str | None
    ratio: float


def judge_model(
    folder: Path,
    questions: Sequence[Topic],
    answers: Mapping[str, str],
    *,
    before: Sequence[Mapping[str, str]] = (),
    max_tokens: int = MAX_ANSWER_TOKENS,
) -> list[Judged]:
    """Answer every phrasing of `questions` greedily with the model in `folder`, in one batch.

    `answers` maps topic names to the known answers. `before` holds messages that precede every question.
    `ratio` is the similarity to the nearest known answer, which only whole answers can reach.
    """
    model, tokenizer = mlx_lm.load(str(folder))[:2]
    asked = [(topic.name, prompt) for topic in questions for prompt in topic.phrasings]
    prompts = [
        tokenizer.apply_chat_template([*before, {"role": "user", "content": prompt}], add_generation_prompt=True)
        for _, prompt in asked
    ]
    done = mlx_lm.batch_generate(model, tokenizer, prompts, max_tokens=max_tokens)
    return [_judged(name, prompt, text, answers) for (name, prompt), text in zip(asked, done.texts, strict=True)]


def right_share(judged: Sequence[Judged], *, fallback: bool) -> float:
    """Return the share of right topics among the topical questions, or among the off-topic ones."""
    chosen = [entry for entry in judged if (entry.asked == FALLBACK) is fallback]
    return sum(entry.asked == entry.answered for entry in chosen) / len(chosen)


def _judged(name: str, prompt: str, text: str, answers: Mapping[str, str]) -> Judged:
    starts = [topic for topic, answer in answers.items() if text[:LABEL_CHARACTERS] == answer[:LABEL_CHARACTERS]]
    if text in answers.values():
        ratio = 1.0
    else:
        ratio = max(difflib.SequenceMatcher(None, text, answer).ratio() for answer in answers.values())
    return Judged(name, prompt, text, starts[0] if starts else None, ratio)
