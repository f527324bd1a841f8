"""The hand-written passes of the training network agree with finite differences and with mlx-lm's llama."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models import llama

from provider.demo.training.network import Network, NetworkShape, initial_parameters

SHAPE = NetworkShape(vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2)
RNG = np.random.default_rng(0)
PARAMS = {name: value * 3 for name, value in initial_parameters(SHAPE, RNG).items()}
TOKENS = RNG.integers(0, 50, (3, 7))
TARGETS = RNG.integers(0, 50, (3, 7))
WEIGHTS = (RNG.random((3, 7)) < 0.6).astype(np.float32) * 1.5


@pytest.mark.parametrize("name", sorted(PARAMS))
def test_gradient_predicts_the_change_of_the_loss(name: str) -> None:
    params = {key: value.copy() for key, value in PARAMS.items()}
    network = Network(SHAPE, params)
    total = float(WEIGHTS.sum())
    gradient = network.loss(TOKENS, TARGETS, WEIGHTS, total=total)[1][name]
    direction = np.random.default_rng(1).standard_normal(gradient.shape).astype(np.float32)
    direction /= np.linalg.norm(direction)
    losses = []
    for step in (0.01, -0.01):
        params[name] = PARAMS[name] + np.float32(step) * direction
        losses.append(network.loss(TOKENS, TARGETS, WEIGHTS, total=total)[0])
    assert (losses[0] - losses[1]) / 0.02 == pytest.approx(float((gradient * direction).sum()), rel=0.05, abs=2e-3)


def test_logits_equal_those_of_mlx_lm() -> None:
    model = llama.Model(
        llama.ModelArgs(
            model_type="llama",
            hidden_size=SHAPE.hidden_size,
            num_hidden_layers=SHAPE.num_hidden_layers,
            intermediate_size=SHAPE.intermediate_size,
            num_attention_heads=SHAPE.num_attention_heads,
            num_key_value_heads=SHAPE.num_attention_heads,
            rms_norm_eps=SHAPE.rms_norm_eps,
            vocab_size=SHAPE.vocab_size,
            rope_theta=SHAPE.rope_theta,
            tie_word_embeddings=True,
        )
    )
    model.load_weights([(name, mx.array(value)) for name, value in PARAMS.items()])
    expected = np.array(model(mx.array(TOKENS)))
    np.testing.assert_allclose(Network(SHAPE, PARAMS).logits(TOKENS), expected, atol=1e-4)


def test_dropout_changes_the_loss_only_with_a_generator() -> None:
    network = Network(SHAPE, PARAMS)
    plain = network.loss(TOKENS, TARGETS, WEIGHTS, total=1.0)[0]
    assert network.loss(TOKENS, TARGETS, WEIGHTS, total=1.0, dropout=0.5)[0] == plain
    noisy = network.loss(TOKENS, TARGETS, WEIGHTS, total=1.0, dropout=0.5, rng=np.random.default_rng(3))[0]
    assert noisy != plain
