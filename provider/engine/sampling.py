"""Samplers and logits processors on MLX arrays.

Rows with the same unseeded parameters share one sampler object, which keeps the library's sampling batched. No global
random state is used: every draw has a key made from a seed and a step counter.
"""

import os
from functools import lru_cache
from typing import cast

import mlx.core as mx

from provider.engine.backend import ProcessorFunction, RowSampling, SamplerFunction
from provider.engine.grammar.processor import GrammarProcessor
from provider.engine.logprobs import LogprobTap
from provider.engine.request import GenerationRequest, SamplingParameters

REPETITION_WINDOW = 64
_MASK = (1 << 64) - 1

Array = mx.array


def mix(seed: int, step: int) -> int:
    """Spread (seed, step) over 64 bits (SplitMix64), so that neighbouring seeds and steps give unrelated keys."""
    value = (seed + (step + 1) * 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class Sampler:
    """Draws one token per row from log-probabilities; step `n` of a seed always draws with the same key."""

    def __init__(self, parameters: SamplingParameters, vocabulary: int, seed: int) -> None:
        self._scale = 1.0 / parameters.temperature
        self._top_p = parameters.top_p if 0 < parameters.top_p < 1 else 0.0
        self._top_k = min(parameters.top_k, vocabulary - 1) if parameters.top_k > 0 else 0
        self._min_p = parameters.min_p
        self._seed = mix(seed & _MASK, 0)
        self._step = 0

    def __call__(self, logprobs: object) -> object:
        """Map log-probabilities (rows, vocabulary) to token ids (rows)."""
        values = cast(Array, logprobs)
        if self._top_p:
            values = keep_top_p(values, self._top_p)
        if self._min_p:
            values = keep_min_p(values, self._min_p)
        if self._top_k:
            values = keep_top_k(values, self._top_k)
        key = mx.random.key(mix(self._seed, self._step))
        self._step += 1
        return mx.random.categorical(values * self._scale, key=key)

    def step_back(self) -> None:
        """Give the next draw the key of the last one."""
        self._step -= 1


def keep_top_p(logprobs: Array, top_p: float) -> Array:
    """Mask all but the smallest set of tokens whose probability reaches `top_p`."""
    ordered = mx.sort(logprobs, axis=-1)
    chances = mx.exp(ordered.astype(mx.float32))
    above = mx.cumsum(chances, axis=-1, reverse=True, inclusive=False)
    dropped = (above >= top_p * mx.sum(chances, axis=-1, keepdims=True)).sum(axis=-1, keepdims=True)
    threshold = mx.take_along_axis(ordered, dropped, axis=-1)
    return mx.where(logprobs < threshold, -mx.inf, logprobs)


def keep_min_p(logprobs: Array, min_p: float) -> Array:
    """Mask tokens less likely than `min_p` times the most likely one."""
    top = mx.max(logprobs, axis=-1, keepdims=True)
    return mx.where(logprobs - top < mx.log(mx.array(min_p, dtype=mx.float32)), -mx.inf, logprobs)


def keep_top_k(logprobs: Array, top_k: int) -> Array:
    """Mask all but the `top_k` most likely tokens (more on a tie)."""
    threshold = mx.min(mx.topk(logprobs, top_k, axis=-1), axis=-1, keepdims=True)
    return mx.where(logprobs < threshold, -mx.inf, logprobs)


def make_bias(pairs: tuple[tuple[int, float], ...]) -> ProcessorFunction:
    """Add a constant to the logits of given tokens."""
    indices = mx.array([token for token, _ in pairs])
    values = mx.array([bias for _, bias in pairs])

    def bias(_: object, logits: object) -> object:
        array = cast(Array, logits)
        return array.at[:, indices].add(values.astype(array.dtype))

    return bias


def make_repetition_penalty(penalty: float) -> ProcessorFunction:
    """Divide positive and multiply negative logits of the last 64 tokens, prompt included."""

    def repetition(context: object, logits: object) -> object:
        tokens, array = cast(Array, context)[-REPETITION_WINDOW:], cast(Array, logits)
        chosen = array[:, tokens]
        array[:, tokens] = mx.where(chosen < 0, chosen * penalty, chosen / penalty)
        return array

    return repetition


def make_occurrence_penalties(frequency: float, presence: float, prompt_length: int) -> ProcessorFunction:
    """Subtract `frequency` per occurrence and `presence` once for each generated token; the prompt does not count."""

    def occurrence(context: object, logits: object) -> object:
        generated, array = cast(Array, context)[prompt_length:], cast(Array, logits)
        if generated.size == 0:
            return array
        counts = mx.zeros((array.shape[-1],), dtype=mx.float32).at[generated].add(1.0)
        penalty = counts * frequency + (counts > 0) * presence
        return (array - penalty[None]).astype(array.dtype)

    return occurrence


class SamplingFactory:
    """Makes the sampling of rows for one vocabulary size; `end_tokens` are what a grammar permits at its end."""

    def __init__(self, vocabulary: int, end_tokens: frozenset[int]) -> None:
        self._vocabulary = vocabulary
        self._end_tokens = end_tokens
        self._shared = lru_cache(maxsize=64)(self._make_shared)

    def make(self, request: GenerationRequest) -> RowSampling:
        """Return sampler and processors; greedy rows get no sampler, so that the library samples them in one call."""
        parameters, prompt_length = request.sampling, len(request.prompt_tokens)
        processors = self._processors(parameters, prompt_length)
        own = self._own_sampler(parameters)
        tap = LogprobTap(request.logprobs) if request.logprobs is not None else None
        guard = None
        if request.grammar is not None:
            state = request.grammar.begin_row(self._vocabulary, self._end_tokens)
            guard = GrammarProcessor(state, prompt_length)
            processors = (*processors, guard)
        if tap is not None:
            processors = (tap, *processors)
        rollbacks = tuple(part for part in (own, tap) if part is not None)
        sampler = own if own is not None else self._sampler(parameters)
        return RowSampling(sampler, processors, rollbacks, tap, guard)

    def _own_sampler(self, parameters: SamplingParameters) -> Sampler | None:
        """A seeded row's own sampler."""
        if parameters.seed is None or parameters.temperature <= 0:
            return None
        return Sampler(parameters, self._vocabulary, parameters.seed)

    def _sampler(self, parameters: SamplingParameters) -> SamplerFunction | None:
        """The sampler that rows of the same parameters share; None for greedy rows."""
        if parameters.temperature <= 0:
            return None
        kind = SamplingParameters(
            temperature=parameters.temperature, top_p=parameters.top_p, top_k=parameters.top_k, min_p=parameters.min_p
        )
        return cast(SamplerFunction, self._shared(kind))

    def _make_shared(self, parameters: SamplingParameters) -> Sampler:
        return Sampler(parameters, self._vocabulary, int.from_bytes(os.urandom(8)))

    def _processors(self, parameters: SamplingParameters, prompt_length: int) -> tuple[ProcessorFunction, ...]:
        processors: list[ProcessorFunction] = []
        if parameters.repetition_penalty not in (0.0, 1.0):
            processors.append(make_repetition_penalty(parameters.repetition_penalty))
        if parameters.frequency_penalty or parameters.presence_penalty:
            processors.append(
                make_occurrence_penalties(parameters.frequency_penalty, parameters.presence_penalty, prompt_length)
            )
        pairs = tuple((token, bias) for token, bias in parameters.logit_bias if 0 <= token < self._vocabulary)
        if pairs:
            processors.append(make_bias(pairs))
        return tuple(processors)
