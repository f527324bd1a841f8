"""Variations of hand-written prompts, so that the model learns topics and not wordings.

Every function is pure but for the random generator that it is given.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from provider.demo.training.corpus import Topic

SYNONYMS: tuple[tuple[str, ...], ...] = (
    ("how do i", "how can i", "how to", "how would i", "how should i", "what is the way to", "how does one"),
    ("what is", "what's", "whats", "what exactly is", "what does it mean:"),
    ("explain", "describe", "tell me about", "tell me more about", "clarify", "please explain"),
    ("show me", "give me", "let me see", "print", "display", "i want to see"),
    ("where is", "where do i find", "where can i find", "where are", "in which place is"),
    ("is there", "do you have", "does it have", "are there", "have you got"),
    ("can i", "could i", "may i", "am i able to", "is it possible to", "is it possible that i"),
    ("do you support", "does it support", "is there support for", "does darkbloom support", "can it do"),
    ("which", "what", "what kind of", "what sort of"),
    ("i want to", "i would like to", "i need to", "i'd like to", "i have to", "i wish to"),
    ("machine", "computer", "box", "device", "node"),
    ("my machine", "my computer", "my mac", "my provider", "my node", "my box"),
    ("prompt", "message", "text", "request", "input", "question"),
    ("prompts", "messages", "texts", "requests", "inputs", "conversations"),
    ("answer", "response", "reply", "completion", "output"),
    ("happens", "occurs", "takes place", "goes on"),
    ("command", "cli command", "instruction"),
    ("delete", "remove", "erase", "get rid of"),
    ("start", "launch", "begin", "run"),
    ("stop", "end", "halt", "quit", "shut down"),
    ("see", "view", "look at", "check", "inspect"),
    ("get", "obtain", "receive", "have"),
    ("use", "work with", "employ", "utilize"),
    ("create", "make", "generate", "set up"),
    ("change", "modify", "adjust", "edit"),
    ("owner", "operator", "host"),
    ("money", "cash", "funds"),
    ("supported", "possible", "available", "allowed", "compatible"),
    ("software", "program", "project", "app", "tool"),
    ("need", "require"),
    ("many", "several", "multiple", "lots of"),
    ("fails", "crashes", "breaks", "goes down", "dies"),
    ("verify", "check", "confirm", "validate"),
    ("chosen", "picked", "selected"),
    ("choose", "pick", "select"),
    ("encrypted", "sealed", "ciphered"),
    ("work", "function", "operate"),
    ("purpose", "point", "goal", "aim"),
    ("darkbloom", "it", "the network", "your network", "this project", "the system"),
)
OPENINGS = (
    "please", "hi,", "hello,", "hey,", "can you tell me", "could you tell me", "can you explain", "could you explain",
    "please tell me", "please explain", "i want to know", "i would like to know", "i wonder", "tell me", "explain",
    "quick question:", "question:", "one more question:", "so", "and", "ok,", "okay so", "but", "now", "sorry,",
    "do you know", "i have a question:", "just curious,", "also", "well,", "um", "in short,", "briefly:", "help:",
    "what about this:", "show me", "i am asking", "i'd like to ask", "can you say", "let me ask", "remind me",
)  # fmt: skip
CLOSINGS = (
    "please", "thanks", "thank you", "exactly", "here", "today", "now", "then", "again", "actually", "in detail",
    "in short", "in simple words", "for me", "in general", "with darkbloom", "in darkbloom", "on darkbloom",
    "in this project", "at all", "really", "right now", "or not", "by the way", "if possible", "these days",
)  # fmt: skip
ALPHABET = "abcdefghijklmnopqrstuvwxyz"
SMALL_TALK = frozenset({"greeting", "how_are_you", "thanks", "goodbye"})


class Variations:
    """Makes new prompts of a topic, and new prompts that belong to no topic, out of the hand-written ones."""

    def __init__(self, topics: Sequence[Topic], rng: random.Random) -> None:
        """Take the fallback first and the topics after it; all randomness comes from `rng`."""
        self.fallback, self.topics, self.rng = topics[0], tuple(topics[1:]), rng
        spread = Counter(word for topic in self.topics for word in _word_set(topic.phrasings))
        self.common = frozenset(word for word, count in spread.items() if count >= len(self.topics) // 4)
        self.foreign = sorted(_word_set(self.fallback.phrasings) - spread.keys())

    def of_topic(self, topic: Topic) -> str:
        """Return a wording that asks for `topic`; about one in five is exactly as written."""
        rng = self.rng
        text = rng.choice(topic.phrasings)
        if rng.random() < 0.2:
            return text
        if topic.name in SMALL_TALK:
            return self._surface(self._words(text))
        if rng.random() < 0.12:
            text = f"{text} {rng.choice(topic.phrasings)}"
        text = self._synonyms(text.lower(), rate=0.25)
        text = self._framed(text, rate=0.3)
        return self._surface(self._words(text))

    def off_topic(self) -> str:
        """Return a prompt that has nothing to do with the project."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.15:
            return rng.choice(self.fallback.phrasings)
        if kind < 0.6:
            text = self._synonyms(rng.choice(self.fallback.phrasings).lower(), rate=0.15)
        elif kind < 0.85:
            text = self._displaced(rng.choice(rng.choice(self.topics).phrasings).lower())
        elif kind < 0.93:
            text = " ".join(rng.choice(self.foreign) for _ in range(rng.randint(1, 6)))
        elif kind < 0.97:
            text = " ".join(rng.choice(self.fallback.phrasings) for _ in range(rng.randint(2, 5)))
        else:
            text = f"{rng.choice(('what is', 'explain', 'define', 'who is', 'buy', ''))} {self._nonsense()}"
        return self._surface(self._words(self._framed(text, rate=0.25)))

    def _displaced(self, text: str) -> str:
        """Replace the telling words of a topic's phrasing by foreign ones; what remains tells nothing."""
        words = text.split()
        telling = [index for index, word in enumerate(words) if _bare(word) not in self.common]
        if not telling:
            return self.rng.choice(self.fallback.phrasings)
        for index in telling:
            words[index] = self.rng.choice(self.foreign)
        return " ".join(words)

    def _nonsense(self) -> str:
        return "".join(self.rng.choice(ALPHABET) for _ in range(self.rng.randint(3, 10)))

    def _synonyms(self, text: str, *, rate: float) -> str:
        for group in SYNONYMS:
            if self.rng.random() >= rate * 2:
                continue
            found = [entry for entry in group if re.search(rf"(?<!\w){re.escape(entry)}(?!\w)", text)]
            if found:
                longest = max(found, key=len)
                replacement = self.rng.choice(group)
                text = re.sub(rf"(?<!\w){re.escape(longest)}(?!\w)", replacement, text, count=1)
        return text

    def _framed(self, text: str, *, rate: float) -> str:
        if self.rng.random() < rate:
            text = f"{self.rng.choice(OPENINGS)} {text}"
        if self.rng.random() < rate * 0.7:
            text = f"{text.rstrip('?.! ')} {self.rng.choice(CLOSINGS)}"
        return text

    def _words(self, text: str) -> str:
        """Drop, swap and misspell a few words."""
        rng = self.rng
        words = text.split()
        if len(words) > 2 and rng.random() < 0.4:
            words = [word for word in words if rng.random() > self._drop_rate(word)] or words
        if len(words) > 2 and rng.random() < 0.15:
            index = rng.randrange(len(words) - 1)
            words[index], words[index + 1] = words[index + 1], words[index]
        if rng.random() < 0.12:
            index = rng.randrange(len(words))
            words[index] = self._misspelt(words[index])
        return " ".join(words)

    def _drop_rate(self, word: str) -> float:
        return 0.2 if _bare(word) in self.common else 0.07

    def _misspelt(self, word: str) -> str:
        if len(word) < 5:
            return word
        at = self.rng.randrange(1, len(word) - 1)
        kind = self.rng.randrange(4)
        if kind == 0:
            return word[:at] + word[at + 1 :]
        if kind == 1:
            return word[:at] + word[at] + word[at:]
        if kind == 2:
            return word[:at] + self.rng.choice(ALPHABET) + word[at + 1 :]
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]

    def _surface(self, text: str) -> str:
        """Vary capitals and the final mark."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.4:
            text = text[:1].upper() + text[1:]
            text = re.sub(r"\bi\b", "I", text).replace("darkbloom", "Darkbloom")
        elif kind < 0.43:
            text = text.upper()
        elif kind < 0.7:
            text = text.lower()
        kind = rng.random()
        if kind < 0.35:
            return text.rstrip("?.! ") + "?"
        if kind < 0.42:
            return text.rstrip("?.! ") + rng.choice((".", "!", "??", "...", " ?"))
        if kind < 0.7:
            return text.rstrip("?.! ") or text
        return text


def _bare(word: str) -> str:
    return word.lower().strip("?.!,:;'\"`")


def _word_set(phrasings: Iterable[str]) -> set[str]:
    return {_bare(word) for text in phrasings for word in text.split()} - {""}
