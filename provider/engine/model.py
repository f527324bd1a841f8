"""A model in memory: network, tokenizer tables and the numbers that admission needs."""

from dataclasses import dataclass, field

from provider.engine.dialect import PLAIN, Dialect
from provider.engine.grammar import GrammarCompiler
from provider.engine.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """What the loader hands to the engine; every array of `network` is evaluated.

    `kv_bytes_per_token` is the growth of one row by one token; `kv_bytes_per_row` is what a row costs regardless of its
    length. `weight_bytes` is what the parameters take in memory. `batchable` is False for caches that cannot be
    merged; such a model runs one row at a time. `rewindable` is False for caches that cannot be shortened again, as
    sliding windows and recurrent states: a stored one serves only prompts that go on after all of it. `tokenizer`
    renders and encodes (see `provider.models.prompt`).
    `grammars` compiles constraints for its tokens; None where they are not available.
    `marked` is the vocabulary with the marks of `dialect` visible, for readers of answers; None where they are.
    """

    model_id: str
    network: object = field(repr=False)
    tokenizer: object = field(repr=False)
    vocabulary: Vocabulary = field(repr=False)
    eos_ids: frozenset[int]
    context_tokens: int
    kv_bytes_per_token: int
    weight_bytes: int
    logits_size: int
    kv_bytes_per_row: int = 0
    batchable: bool = True
    rewindable: bool = True
    load_time_ms: float = 0.0
    dialect: Dialect = PLAIN
    marked: Vocabulary | None = field(default=None, repr=False)
    grammars: GrammarCompiler | None = field(default=None, repr=False, compare=False)

    def words(self, *, marks: bool) -> Vocabulary:
        """Return the tables for an answer whose marks are read, or for one whose text is shown as it is."""
        return self.marked if marks and self.marked is not None else self.vocabulary
