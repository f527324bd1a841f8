"""A model in memory: network, tokenizer tables and the numbers that admission needs."""

from dataclasses import dataclass, field

from provider.engine.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """What the loader hands to the engine; every array of `network` is evaluated.

    `kv_bytes_per_token` is the growth of one row by one token; `kv_bytes_per_row` is what a row costs regardless of its
    length. `weight_bytes` is what the parameters take in memory. `batchable` is False for caches that cannot be
    merged; such a model runs one row at a time. `tokenizer` renders and encodes (see `provider.models.prompt`).
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
    load_time_ms: float = 0.0
