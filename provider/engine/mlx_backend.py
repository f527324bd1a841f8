"""The backend on MLX and mlx-lm; made and used on the engine thread, because MLX streams belong to a thread."""

import copy
import threading
from typing import Protocol, cast

import mlx.core as mx
import numpy as np
from mlx_lm.generate import BatchGenerator
from mlx_lm.models.cache import CacheList, can_trim_prompt_cache, trim_prompt_cache

from provider.engine.backend import Generator, RowSampling, TokenResponse
from provider.engine.model import LoadedModel
from provider.engine.prefill import MAX_CHUNK
from provider.engine.request import GenerationRequest
from provider.engine.sampling import SamplingFactory

PREFILL_ROWS = 8
"""Prompts that the library processes together, padded to the longest."""

_STREAMS = threading.local()

HALF_MAGNITUDE = 0x7FFF
BFLOAT16_INFINITY = 0x7F80
FLOAT16_INFINITY = 0x7C00


class CacheLayer(Protocol):
    """One layer of a prompt cache."""

    state: object
    nbytes: int


def own_stream() -> mx.Stream:
    """Give the calling thread's one stream; each new one would cost a native thread that never ends."""
    stream = getattr(_STREAMS, "stream", None)
    if stream is None:
        stream = _STREAMS.stream = mx.new_stream(mx.default_device())
    return cast(mx.Stream, stream)


def own_layer(layer: object) -> object:
    """A layer over the same arrays that is shortened without the other."""
    owned = copy.copy(layer)
    if isinstance(owned, CacheList):
        owned.caches = tuple(own_layer(part) for part in owned.caches)
    return owned


class MlxBackend:
    """Generators and samplers of one loaded model."""

    def __init__(self, model: LoadedModel) -> None:
        self._network = model.network
        self._stop_tokens = [[token] for token in sorted(model.eos_ids)]
        self._sampling = SamplingFactory(model.logits_size, model.eos_ids)
        self._stream = own_stream()

    def make_generator(self, rows: int) -> Generator:
        """Return a fresh batch generator on this thread's stream."""
        generator = BatchGenerator(
            self._network,
            stop_tokens=self._stop_tokens,
            completion_batch_size=rows,
            prefill_batch_size=min(rows, PREFILL_ROWS),
            prefill_step_size=MAX_CHUNK,
            stream=self._stream,
        )
        return cast(Generator, generator)

    def make_sampling(self, request: GenerationRequest) -> RowSampling:
        """Return sampler and processors of a new row."""
        return self._sampling.make(request)

    def is_broken(self, response: TokenResponse) -> bool:
        """Whether the chosen token's log-probability is not finite, as after any NaN or infinite logit.

        Reads the evaluated buffer directly, so that the step which is already running is not waited for.
        """
        kind = cast(mx.array, response.logprobs).dtype
        buffer = cast("memoryview[int]", response.logprobs)
        if kind == mx.float32:
            return not np.isfinite(np.frombuffer(buffer, np.float32, 1, 4 * response.token)[0])
        bits = int(np.frombuffer(buffer, np.uint16, 1, 2 * response.token)[0]) & HALF_MAGNITUDE
        return bits >= (BFLOAT16_INFINITY if kind == mx.bfloat16 else FLOAT16_INFINITY)

    def keep_cache(self, cache: list[object]) -> list[object]:
        """Evaluate the removed row's slices, so that they no longer hold the whole batch."""
        with mx.stream(self._stream):
            mx.eval([layer.state for layer in cast(list[CacheLayer], cache)])
        return cache

    def drop_last(self, cache: list[object]) -> bool:
        """Trim the newest token; False if a layer cannot be trimmed."""
        if not can_trim_prompt_cache(cache):
            return False
        trim_prompt_cache(cache, 1)
        return True

    def copy_prefix(self, cache: list[object], drop: int) -> list[object] | None:
        """Return layers of their own over the same arrays; whoever merges them into a batch copies what they cover."""
        if drop and not can_trim_prompt_cache(cache):
            return None
        layers = [own_layer(layer) for layer in cache]
        if drop and trim_prompt_cache(layers, drop) != drop:
            return None
        return layers

    def cache_bytes(self, cache: list[object]) -> int:
        """Bytes of all layers."""
        return sum(layer.nbytes for layer in cast(list[CacheLayer], cache))

    def clear(self) -> None:
        """Return freed buffers to the system."""
        mx.clear_cache()
