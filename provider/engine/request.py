"""One generation request as the engine takes it: token ids in, limits and sampling parameters beside them."""

import msgspec

from provider.engine.grammar.plan import Grammar

DEFAULT_MAX_TOKENS = 4096


class SamplingParameters(msgspec.Struct, frozen=True, kw_only=True):
    """How the next token is chosen; the defaults mean greedy decoding.

    `logit_bias` holds (token id, bias) pairs with ids inside the vocabulary. `repetition_penalty` looks at the last
    64 prompt and generated tokens; the frequency and presence penalties look at generated tokens only. A `seed` makes
    the row repeatable, alone or inside a batch.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None


GREEDY = SamplingParameters()


class GenerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt for one attached model.

    `max_tokens` is clamped to the model's context; 0 ends at once with reason ``length``. `stop` strings match on
    decoded text. `deadline` is a ``time.monotonic`` instant by which the first token must be reachable, or None.
    `warm_up` marks the provider's own check of a fresh model, which skips the token budget.

    `marks` shows the special tokens of the model's dialect, for a reader of the answer. `logprobs` is how many
    alternatives to report beside each token, None for no report at all. `grammar` constrains the text. Without a
    `cache_scope` nothing of the request is kept or reused; requests of one scope may share prefixes. `boundaries` are
    the lengths of beginnings of the prompt to keep as they are computed, ascending: where a cache cannot be shortened
    again, a later prompt that shares one finds it there.
    """

    model: str
    prompt_tokens: tuple[int, ...]
    max_tokens: int = DEFAULT_MAX_TOKENS
    sampling: SamplingParameters = GREEDY
    stop: tuple[str, ...] = ()
    deadline: float | None = None
    warm_up: bool = False
    marks: bool = False
    logprobs: int | None = None
    grammar: Grammar | None = None
    cache_scope: str = ""
    boundaries: tuple[int, ...] = ()
