"""A compiled constraint, and where in an answer it begins."""

from dataclasses import dataclass, field
from typing import Protocol

from provider.engine.grammar.state import GrammarState, Matcher


class Prototype(Protocol):
    """A compiled grammar at its start."""

    def deep_copy(self) -> Matcher:
        """Return a matcher for one row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """When a constraint begins: at once, or after the reasoning.

    `closes` are the tokens that end the reasoning; empty: there is none. `is_open` says that the prompt has begun it;
    else the model may begin it with `opens` as its very first tokens, or leave it out. `closes` alone mean that the
    whole answer is free until they come, as in framed answers.
    """

    opens: tuple[int, ...] = ()
    closes: tuple[int, ...] = ()
    is_open: bool = False


AT_ONCE = Begin()


@dataclass(frozen=True, slots=True)
class Grammar:
    """One compiled constraint; rows share it, each with a state of its own."""

    prototype: Prototype = field(repr=False)
    begin: Begin = AT_ONCE

    def begin_row(self, size: int, end_tokens: frozenset[int]) -> GrammarState:
        """Return the state of a new row; `size` is the width of the logits."""
        begin = self.begin
        return GrammarState(
            self.prototype.deep_copy(),
            size=size,
            end_tokens=end_tokens,
            opens=begin.opens,
            closes=begin.closes,
            is_free=begin.is_open or bool(begin.closes and not begin.opens),
        )
