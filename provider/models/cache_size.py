"""What a row costs in key-value cache, measured on the loaded network itself."""

from dataclasses import dataclass
from typing import Protocol, cast

PROBE_TOKENS = 256
"""One step of cache growth."""


@dataclass(frozen=True, slots=True)
class CacheSize:
    """Cache cost of one row: fixed bytes and bytes for each token; whether rows can share a batch, and be shortened."""

    bytes_per_token: int
    bytes_per_row: int
    batchable: bool
    rewindable: bool
    logits_size: int


class CacheLayer(Protocol):
    """One layer of a prompt cache."""

    @property
    def nbytes(self) -> int:
        """Bytes taken now."""

    @property
    def state(self) -> object:
        """Arrays of the layer."""

    def is_trimmable(self) -> bool:
        """Whether its newest tokens can be taken out now."""


def measure_cache(network: object) -> CacheSize:
    """Prefill one and two cache steps of a neutral token and compare the sizes.

    Exact for attention layers: 2 × layers × kv heads × head size × bytes. Recurrent layers appear as bytes per row;
    a sliding window shorter than the probe makes the figure per token smaller, never the total too small.
    """
    import mlx.core as mx
    from mlx_lm.models.cache import CacheList, RotatingKVCache, make_prompt_cache

    def rewinds(layer: object) -> bool:
        """A window can be shortened only until it is full."""
        if isinstance(layer, CacheList):
            return all(rewinds(part) for part in layer.caches)
        return not isinstance(layer, RotatingKVCache) and cast(CacheLayer, layer).is_trimmable()

    sizes: list[int] = []
    logits_size = 0
    cache: list[CacheLayer] = []
    for steps in (1, 2):
        cache = cast(list[CacheLayer], make_prompt_cache(network))
        run = cast("Forward", network)
        logits = run(mx.zeros((1, PROBE_TOKENS * steps), dtype=mx.int32), cache=cache)
        mx.eval(logits, [layer.state for layer in cache])
        logits_size = int(cast(mx.array, logits).shape[-1])
        sizes.append(sum(layer.nbytes for layer in cache))
        del logits
    mx.clear_cache()
    per_token = max(0, sizes[1] - sizes[0]) // PROBE_TOKENS
    batchable = all(hasattr(layer, "merge") for layer in cache)
    rewindable = all(rewinds(layer) for layer in cache)
    return CacheSize(per_token, max(0, sizes[0] - per_token * PROBE_TOKENS), batchable, rewindable, logits_size)


class Forward(Protocol):
    """A network's forward pass."""

    def __call__(self, tokens: object, *, cache: list[CacheLayer]) -> object:
        """Map token ids (rows, length) to logits (rows, length, vocabulary)."""
