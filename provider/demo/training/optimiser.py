"""AdamW with a warm-up and cosine schedule, and the moving average of the weights that is kept in the end."""

import math

import numpy as np

from provider.demo.training.network import Parameters


def learning_rate(step: int, *, steps: int, peak: float, warmup: int = 100, floor: float = 0.02) -> float:
    """Return the rate of a step: a linear rise over `warmup` steps, then half a cosine down to `floor * peak`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)))


class AdamW:
    """Updates parameters in place; weight decay acts on matrices only.

    Invariant: `average` trails the parameters with the given momentum and never feeds back into them.
    """

    def __init__(self, params: Parameters, *, weight_decay: float = 0.05, average_momentum: float = 0.998) -> None:
        """Start with zero moments and an average equal to the parameters."""
        self.params, self.weight_decay, self.average_momentum = params, weight_decay, average_momentum
        self.first = {name: np.zeros_like(value) for name, value in params.items()}
        self.second = {name: np.zeros_like(value) for name, value in params.items()}
        self.average = {name: value.copy() for name, value in params.items()}
        self.steps = 0

    def step(self, gradients: Parameters, rate: float, *, clip: float = 1.0) -> None:
        """Apply one update at learning rate `rate`, with the gradients scaled down to the global norm `clip`."""
        self.steps += 1
        norm = math.sqrt(sum(float(np.vdot(value, value)) for value in gradients.values()))
        scale = np.float32(min(1.0, clip / (norm + 1e-9)))
        fast, slow = np.float32(0.9), np.float32(0.98)
        first_bias, second_bias = 1 - 0.9**self.steps, 1 - 0.98**self.steps
        keep = np.float32(min(self.average_momentum, self.steps / (self.steps + 10)))
        for name, gradient in gradients.items():
            value, first, second = self.params[name], self.first[name], self.second[name]
            scaled = gradient * scale
            first *= fast
            first += (1 - fast) * scaled
            second *= slow
            second += (1 - slow) * scaled * scaled
            if value.ndim == 2:
                value *= np.float32(1 - rate * self.weight_decay)
            value -= np.float32(rate / first_bias) * first / (np.sqrt(second / np.float32(second_bias)) + 1e-8)
            average = self.average[name]
            average *= keep
            average += (1 - keep) * value
