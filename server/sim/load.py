"""A seeded generator of realistic load: waves of the day, bursts, many accounts, long tails of prompts and answers."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta, Struct, field

from server.sim.clients import FICKLE, OBEDIENT, STUBBORN, Manners
from server.sim.errors import SimulationError
from server.sim.seeds import stream
from server.sim.trace import MAX_ARRIVALS, Arrival

if TYPE_CHECKING:
    from random import Random

Positive = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]

BOUNDS: Final = ((256, 0.35), (512, 0.25), (1_024, 0.2), (2_048, 0.12), (8_192, 0.08))
"""Values of max_tokens that clients send, and how often."""


class Burst(Struct, frozen=True):
    """`factor` times the ordinary rate from `start` for `seconds`."""

    start: float
    seconds: Positive
    factor: Positive


class Lengths(Struct, frozen=True, kw_only=True):
    """A log-normal distribution of token numbers, cut off at both ends."""

    median: Positive
    sigma: Annotated[float, Meta(ge=0, le=3)] = 0.8
    low: int = 1
    high: int = 16_000

    def draw(self, random: Random) -> int:
        """One length."""
        return min(self.high, max(self.low, round(self.median * math.exp(random.gauss(0.0, self.sigma)))))


class Load(Struct, frozen=True, kw_only=True):
    """What is asked of the network; rates per second, times in seconds.

    The rate follows a sine of `wave` (0: steady, 1: silent at night) over `day`. `models` are weights; `accounts` share
    the load by 1/rank^`skew`. `conversations` is the share of requests that continue an earlier one of their account.
    """

    seconds: Positive
    rate: Positive
    models: dict[str, float]
    wave: Share = 0.0
    day: Positive = 86_400.0
    bursts: tuple[Burst, ...] = ()
    accounts: Annotated[int, Meta(ge=1, le=1_000_000)] = 200
    skew: Annotated[float, Meta(ge=0, le=3)] = 0.9
    prompt: Lengths = field(default_factory=lambda: Lengths(median=350, sigma=1.0, low=8, high=12_000))
    out: Lengths = field(default_factory=lambda: Lengths(median=140, sigma=0.8, low=2, high=2_000))
    tools: Share = 0.0
    conversations: Share = 0.0
    clients: tuple[tuple[Manners, float], ...] = ((OBEDIENT, 0.7), (STUBBORN, 0.05), (FICKLE, 0.25))

    def rate_at(self, seconds: float) -> float:
        """Requests per second at one moment."""
        rate = self.rate * (1 + self.wave * math.sin(2 * math.pi * (seconds / self.day - 0.25)))
        for burst in self.bursts:
            if burst.start <= seconds < burst.start + burst.seconds:
                rate *= burst.factor
        return rate


def generate(load: Load, seed: int) -> list[Arrival]:
    """Draw a trace; the same load and seed always give the same one."""
    random = stream(seed, "load")
    highest = load.rate * (1 + load.wave) * math.prod(max(1.0, burst.factor) for burst in load.bursts)
    if highest * load.seconds > 4 * MAX_ARRIVALS:
        raise SimulationError(
            f"{highest:.0f} requests/s for {load.seconds:.0f} s are too many; lower the rate or the duration."
        )
    models, weights = list(load.models), list(load.models.values())
    accounts = list(accumulate(1 / rank**load.skew for rank in range(1, load.accounts + 1)))
    bounds, bound_weights = [bound for bound, _ in BOUNDS], [weight for _, weight in BOUNDS]
    talks: dict[str, tuple[str, int]] = {}
    arrivals: list[Arrival] = []
    now = 0.0
    while True:
        now += random.expovariate(highest)
        if now >= load.seconds:
            return arrivals
        if random.random() * highest > load.rate_at(now):
            continue
        if len(arrivals) >= MAX_ARRIVALS:
            raise SimulationError(f"The load has more than {MAX_ARRIVALS} arrivals; lower the rate or the duration.")
        account = f"a{random.choices(range(load.accounts), cum_weights=accounts)[0]}"
        prompt, out = load.prompt.draw(random), load.out.draw(random)
        bound = random.choices(bounds, bound_weights)[0]
        prefix, shared = None, 0
        if load.conversations:
            prefix, shared = _talk(talks, account, random, load.conversations, len(arrivals))
            prompt += shared
            talks[account] = (prefix, min(8_000, prompt + min(out, bound)))
        arrivals.append(
            Arrival(
                t_ms=round(now * 1000, 3),
                model=random.choices(models, weights)[0],
                prompt=prompt,
                max_tokens=max(bound, 16),
                out=min(out, bound),
                account=account,
                tools=random.random() < load.tools,
                prefix=prefix,
                prefix_tokens=shared,
            )
        )


def _talk(
    talks: dict[str, tuple[str, int]], account: str, random: Random, share: float, number: int
) -> tuple[str, int]:
    """The conversation that a request belongs to, and how many tokens of it came before."""
    if account in talks and random.random() < share:
        return talks[account]
    return f"h{number}", 0


def draw_manners(load: Load, seed: int, job: int) -> Manners:
    """Who sends the request with this number: the same client under every policy."""
    kinds, weights = [kind for kind, _ in load.clients], [weight for _, weight in load.clients]
    return kinds[0] if len(kinds) == 1 else stream(seed, "client", job).choices(kinds, weights)[0]
