"""Random networks whose caches cannot be trimmed, in the clothes of the tiny model."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, cast

from provider.engine import LoadedModel
from provider.models.cache_size import measure_cache

WINDOW: Final = 96
"""Tokens that the layers with a sliding window see."""


def sliding_window_network(vocabulary: int) -> object:
    """Layers that see `WINDOW` tokens, and every third one that sees all."""
    from mlx_lm.models import gemma3_text

    arguments = gemma3_text.ModelArgs(
        model_type="gemma3_text",
        hidden_size=64,
        num_hidden_layers=3,
        intermediate_size=128,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        query_pre_attn_scalar=16,
        vocab_size=vocabulary,
        sliding_window=WINDOW,
        sliding_window_pattern=3,
        max_position_embeddings=4096,
    )
    return gemma3_text.Model(arguments)


def recurrent_network(vocabulary: int) -> object:
    """Convolutions with a state of fixed size, and one layer of attention."""
    from mlx_lm.models import lfm2

    arguments = lfm2.ModelArgs(
        model_type="lfm2",
        vocab_size=vocabulary,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        norm_eps=1e-5,
        conv_bias=False,
        conv_L_cache=3,
        block_dim=64,
        block_ff_dim=128,
        block_multiple_of=16,
        block_ffn_dim_multiplier=1.0,
        block_auto_adjust_ff_dim=False,
        layer_types=["conv", "full_attention", "conv"],
    )
    return lfm2.Model(arguments)


def in_clothes_of(tiny: LoadedModel, make_network: Callable[[int], object], *, seed: int = 7) -> LoadedModel:
    """A model with the words of `tiny` and another network with random weights, the same for the same seed."""
    import mlx.core as mx
    import mlx.nn as nn
    from mlx.utils import tree_flatten, tree_unflatten

    network = cast(nn.Module, make_network(tiny.logits_size))
    key, weights = mx.random.key(seed), []
    for name, value in tree_flatten(network.parameters()):
        key, part = mx.random.split(key)
        weights.append((name, mx.random.normal(value.shape, key=part) * 0.3))
    network.update(tree_unflatten(weights))
    mx.eval(network.parameters(), mx.random.state)
    size = measure_cache(network)
    return replace(
        tiny,
        model_id=make_network.__name__,
        network=network,
        kv_bytes_per_token=size.bytes_per_token,
        kv_bytes_per_row=size.bytes_per_row,
        batchable=size.batchable,
        rewindable=size.rewindable,
    )
