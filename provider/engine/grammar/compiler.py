"""Compiling grammars for one model's tokens, with llguidance.

Invariant: nothing of a schema leaves by an exception or a log line but the name of a keyword.
"""

import importlib.util
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from provider.engine.grammar.checks import SchemaCheck
from provider.engine.grammar.sources import WHITESPACE_PATTERN, GrammarSource

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from llguidance._lib import JsonCompileOptions

CACHED_GRAMMARS: Final = 64

_KEYWORD: Final = re.compile(r"nimplemented keys?: \[?\"?([A-Za-z$]{1,40})")


class GrammarRefused(Exception):
    """The grammar cannot be enforced; `keyword` is what stands in the way, as far as that is known."""

    def __init__(self, keyword: str = "") -> None:
        named = f" because of its keyword {keyword!r}" if keyword else ""
        super().__init__(f"The response format cannot be enforced{named}; simplify the schema.")
        self.keyword = keyword


def is_available() -> bool:
    """Whether the library is installed; told without importing it."""
    return importlib.util.find_spec("llguidance") is not None


class GrammarCompiler:
    """Compiles for one model, on any thread; the tokenizer's tables are built with the first grammar.

    `describe` returns the tokenizer's JSON description. `size` is the width of the logits.
    """

    def __init__(self, describe: Callable[[], str], end_tokens: frozenset[int], size: int) -> None:
        self._describe = describe
        self._end_tokens = end_tokens
        self._size = size
        self._lock = threading.Lock()
        self._tokenizer: LLTokenizer | None = None
        self._compiled: OrderedDict[GrammarSource, LLMatcher] = OrderedDict()

    def compile(self, source: GrammarSource) -> "LLMatcher":
        """Return a matcher at its start, to be copied for each row; blocks without the interpreter lock.

        Raises `GrammarRefused`.
        """
        with self._lock:
            known = self._compiled.get(source)
            if known is not None:
                self._compiled.move_to_end(source)
                return known
        matcher = self._build(source)
        with self._lock:
            self._compiled[source] = matcher
            while len(self._compiled) > CACHED_GRAMMARS:
                self._compiled.popitem(last=False)
        return matcher

    def check_of(self, source: GrammarSource) -> SchemaCheck | None:
        """Return what a finished text must still be held against: None where the grammar enforces everything.

        Raises `GrammarRefused`.
        """
        if source.is_strict or source.kind != "schema" or not self.compile(source).get_grammar_warnings():
            return None
        try:
            return SchemaCheck(source)
        except ValueError:
            raise GrammarRefused from None

    def _build(self, source: GrammarSource) -> "LLMatcher":
        if not is_available():
            raise GrammarRefused
        from llguidance import LLMatcher

        try:
            text = _text(source)
            matcher = LLMatcher(self._tables(), text, log_level=0)
        except Exception:  # what the library raises may quote the schema
            raise GrammarRefused from None
        if matcher.is_error():
            found = _KEYWORD.search(matcher.get_error())
            raise GrammarRefused(found[1] if found else "")
        return matcher

    def _tables(self) -> "LLTokenizer":
        from llguidance import LLTokenizer

        with self._lock:
            if self._tokenizer is None:
                end = min(self._end_tokens, default=0)
                self._tokenizer = LLTokenizer(self._describe(), n_vocab=self._size, eos_token=end)
            return self._tokenizer


def _text(source: GrammarSource) -> str:
    from llguidance import LLMatcher

    if source.kind == "lark":
        return LLMatcher.grammar_from_lark(source.text)
    options: JsonCompileOptions = {"lenient": not source.is_strict, "whitespace_pattern": WHITESPACE_PATTERN}
    return LLMatcher.grammar_from_json_schema(source.text, overrides=options)
