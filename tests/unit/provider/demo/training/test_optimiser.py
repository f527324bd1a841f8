"""The optimiser follows its schedule and walks downhill."""

from __future__ import annotations

import numpy as np
import pytest

from provider.demo.training.optimiser import AdamW, learning_rate


def test_rate_rises_then_falls_along_a_cosine() -> None:
    rates = [learning_rate(step, steps=1100, peak=1.0) for step in (0, 99, 100, 600, 1099)]
    assert rates == pytest.approx([0.01, 1.0, 1.0, 0.51, 0.02], abs=1e-3)


def test_steps_reach_the_minimum_of_a_parabola() -> None:
    params = {"x": np.full(2, 3.0, np.float32)}
    optimiser = AdamW(params)
    for _ in range(400):
        optimiser.step({"x": 2 * params["x"]}, 0.05)
    assert np.abs(params["x"]).max() < 0.05


def test_average_trails_the_parameters() -> None:
    params = {"x": np.full(2, 3.0, np.float32)}
    optimiser = AdamW(params)
    optimiser.step({"x": np.ones(2, np.float32)}, 0.5)
    assert params["x"][0] < optimiser.average["x"][0] < 3.0


def test_weight_decay_shrinks_matrices_only() -> None:
    params = {"matrix": np.ones((2, 2), np.float32), "gain": np.ones(2, np.float32)}
    AdamW(params, weight_decay=0.5).step({name: np.zeros_like(value) for name, value in params.items()}, 0.1)
    assert params["matrix"][0, 0] == pytest.approx(0.95)
    assert params["gain"][0] == 1.0
