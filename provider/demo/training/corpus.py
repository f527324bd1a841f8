"""The hand-written question and answer texts of the demo model, read from `qa.toml` and `eval.toml`."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

FALLBACK = "fallback"


@dataclass(frozen=True)
class Topic:
    """One thing that the model can talk about: every phrasing asks for the same answer."""

    name: str
    answer: str
    phrasings: tuple[str, ...]


def load_corpus(path: Path) -> tuple[Topic, ...]:
    """Read a corpus file and return its topics, the fallback first.

    Files without answers (`eval.toml`) give topics with an empty answer.
    Raises `ValueError` when a topic is named twice.
    """
    with path.open("rb") as file:
        document = tomllib.load(file)
    topics = [_topic(FALLBACK, document["fallback"])]
    topics += [_topic(entry["name"], entry) for entry in document["topic"]]
    names = [topic.name for topic in topics]
    doubled = {name for name in names if names.count(name) > 1}
    if doubled:
        raise ValueError(f"{path.name} names the topic {min(doubled)!r} twice; merge the two or rename one.")
    return tuple(topics)


def normalised(text: str) -> str:
    """Return the text in lower case without punctuation, to tell whether two phrasings are the same."""
    words = re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()
    return words or text.strip()


def _topic(name: str, entry: dict[str, str]) -> Topic:
    lines = (line.strip() for line in entry["phrasings"].splitlines())
    return Topic(name, entry.get("answer", ""), tuple(line for line in lines if line))
