"""Trains the demo model from `qa.toml` and writes it to `model/`: `python -m provider.demo.train`.

The same seed, texts and NumPy build give the same weights. `eval.toml` is read only after the last step, to judge.
It takes about half an hour on one shared CPU core; set `OPENBLAS_NUM_THREADS=1` to keep it to one. It does not run
in CI: the weights are committed, and a test judges them.
"""

import argparse
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from provider.demo import demo_model_path
from provider.demo.training.corpus import Topic, load_corpus
from provider.demo.training.dialogue import Dialogues, Row, pad_id, padded_batch
from provider.demo.training.export import export_model
from provider.demo.training.judge import judge_model, right_share
from provider.demo.training.network import Network, NetworkShape, Parameters, initial_parameters
from provider.demo.training.optimiser import AdamW, learning_rate
from provider.demo.training.variation import Variations
from provider.demo.training.vocabulary import train_tokenizer

FOLDER = Path(__file__).resolve().parent
SEED = 7
STEPS = 3000
STEPS_PER_SNAPSHOT = 500
VOCABULARY = 1536
PEAK_RATE = 2e-3
DROPOUT = 0.1


def tokenizer_texts(topics: Sequence[Topic], rng: random.Random) -> Iterator[str]:
    """Yield what the vocabulary is learned from: answers, phrasings as written, and varied ones."""
    variations = Variations(topics, rng)
    for topic in topics:
        yield from [topic.answer] * 10
        yield from (f" {phrasing}" for phrasing in topic.phrasings for _ in range(2))
    for topic in variations.topics:
        yield from (f" {variations.of_topic(topic)}" for _ in range(40))
    yield from (f" {variations.off_topic()}" for _ in range(400))


def next_rows(dialogues: Dialogues, step: int) -> list[Row]:
    """Return the rows of a step: mostly short ones that decide, in three of ten whole answers or earlier turns."""
    if step % 10 == 4:
        return [dialogues.deciding_later() for _ in range(20)]
    if step % 5 == 2:
        return [dialogues.reciting() for _ in range(40)]
    return [dialogues.deciding() for _ in range(96)]


def step_gradients(
    network: Network, rows: Sequence[Row], pad: int, noise: np.random.Generator
) -> tuple[float, Parameters]:
    """Return loss and gradients of the rows, taken in parts of like length so that little of a part is padding."""
    ordered = sorted(rows, key=lambda row: len(row.tokens))
    total = sum(sum(row.weights) for row in rows)
    size = max(8, len(rows) // 4)
    value = 0.0
    summed: Parameters = {}
    for start in range(0, len(ordered), size):
        tokens, targets, weights = padded_batch(ordered[start : start + size], pad)
        part, gradients = network.loss(tokens, targets, weights, total=total, dropout=DROPOUT, rng=noise)
        value += part
        for name, gradient in gradients.items():
            summed[name] = summed[name] + gradient if name in summed else gradient
    return value, summed


def train(topics: Sequence[Topic], folder: Path, *, steps: int, seed: int) -> None:
    """Train for `steps` steps and write the averaged weights to `folder`, now and then and at the end.

    Progress goes to standard output.
    """
    rng, noise = random.Random(seed), np.random.default_rng(seed)
    tokenizer = train_tokenizer(tokenizer_texts(topics, rng), vocab_size=VOCABULARY)
    shape = NetworkShape(vocab_size=tokenizer.get_vocab_size())
    params = initial_parameters(shape, noise)
    network, optimiser = Network(shape, params), AdamW(params)
    dialogues = Dialogues(topics, tokenizer, rng)
    pad = pad_id(tokenizer)
    print(f"{sum(value.size for value in params.values())} parameters, {shape.vocab_size} tokens", flush=True)
    started, recent = time.monotonic(), 0.0
    for step in range(steps):
        loss, gradients = step_gradients(network, next_rows(dialogues, step), pad, noise)
        optimiser.step(gradients, learning_rate(step, steps=steps, peak=PEAK_RATE))
        recent = loss if step == 0 else 0.98 * recent + 0.02 * loss
        if step % 100 == 99:
            print(f"step {step + 1}: loss {recent:.3f}, {time.monotonic() - started:.0f} s", flush=True)
        if (step + 1) % STEPS_PER_SNAPSHOT == 0:
            export_model(folder, shape, optimiser.average, tokenizer)
    export_model(folder, shape, optimiser.average, tokenizer)


def main() -> None:
    """Train, then judge the written weights against the unseen phrasings and print the misses."""
    parser = argparse.ArgumentParser(description="Train the demo model.")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--output", type=Path, default=demo_model_path())
    options = parser.parse_args()
    topics = load_corpus(FOLDER / "qa.toml")
    train(topics, options.output, steps=options.steps, seed=options.seed)
    answers = {topic.name: topic.answer for topic in topics}
    judged = judge_model(options.output, load_corpus(FOLDER / "eval.toml"), answers)
    for entry in judged:
        if entry.asked != entry.answered or entry.ratio < 1:
            print(f"{entry.asked} -> {entry.answered} ({entry.ratio:.2f}): {entry.prompt} => {entry.text}")
    print(f"right topic {right_share(judged, fallback=False):.3f}, fallback {right_share(judged, fallback=True):.3f}")
    print(f"nearest known answer, worst case {min(entry.ratio for entry in judged):.2f}")


if __name__ == "__main__":
    main()
