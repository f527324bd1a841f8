"""What a request would cost on one provider: a fixed part, and microseconds per prompt token and per output token.

The fixed part changes only with the session; the two rates lie on a grid, so that machines of one speed class have the
same ones. Whole microseconds make every sum exact, in whatever order it is added up.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import Struct

from server.registry.admission import provider_cap
from server.registry.cost import CAPACITY_RATE_US, PENDING_US, QUEUE_US, STATE_US, health_us
from server.registry.decision import Candidate, CostTerms
from server.registry.grid import on_grid, per_token_us, tokens_on_grid
from server.registry.rates import decode_tps, prefill_tps, projected_tps, solo_rate
from server.registry.speed import speed_of
from server.registry.ttft import estimate_ttft
from server.registry.views import in_flight, in_flight_total, owned_by, since_report, total_memory_gb

if TYPE_CHECKING:
    from server.registry.gates import GateContext
    from server.registry.ledger import LedgerSums
    from server.registry.pair_faults import PairFaults
    from server.registry.policy import RoutingPolicy
    from server.registry.request import RoutedRequest
    from server.registry.speed import Speed
    from server.registry.state import Session, Slot


class Delivery(Struct, frozen=True, gc=False):
    """Expected delivery on one slot (cost v2) as far as reports decide it; what is in flight is filled in later.

    `token` and `prefill` are microseconds per output and prompt token of a stream alone, `load_factor` how much one
    more in the batch slows each.
    """

    token: float
    prefill: float
    load_factor: float

    def ahead(self, sums: LedgerSums) -> int:
        """Return the price of the prompts ahead (µs)."""
        return round(2 * sums.unstarted * self.prefill)

    def beside(self, batch: int) -> tuple[int, int]:
        """Return the prices of the own first token (µs), and of an output token on the grid, beside so many requests.

        The latter is the time of the token itself, and by how much it slows those that run already.
        """
        slowed = self.load_factor * self.token
        per_token = self.token + slowed * (batch + 1)
        return round(2 * per_token), on_grid(per_token + 0.5 * batch * slowed)


class Price(Struct, frozen=True, gc=False):
    """The price of a model on one session, in microseconds; `base` is the sum of the fixed terms.

    `open_backlog` is set where the backlog depends on the request: (potential, waiting, reserved tokens, µs per token).
    `delivery` is set by cost v2 alone.
    """

    base: int
    prompt: int
    output: int
    state: int = 0
    queue: int = 0
    pending: int = 0
    backlog: int = 0
    health: int = 0
    capacity_rate: int = 0
    open_backlog: tuple[int, int, int, float] | None = None
    delivery: Delivery | None = None

    def total(self, prompt_tokens: int, output_tokens: int) -> int:
        """Return the whole cost of a request."""
        cost = self.base + prompt_tokens * self.prompt + output_tokens * self.output
        return cost if self.open_backlog is None else cost + self._open(output_tokens)

    def terms(self, prompt_tokens: int, output_tokens: int) -> CostTerms:
        """Return the cost term by term in ms; their sum is the total."""
        backlog = self.backlog if self.open_backlog is None else self.backlog + self._open(output_tokens)
        return CostTerms(
            self.state / 1000,
            self.queue / 1000,
            self.pending / 1000,
            backlog / 1000,
            (prompt_tokens * self.prompt + output_tokens * self.output) / 1000,
            self.health / 1000,
            self.capacity_rate / 1000,
        )

    def _open(self, output_tokens: int) -> int:
        """Work ahead of the request where requests wait in an engine that reports no budget."""
        if self.open_backlog is None:
            return 0
        potential, waiting, reserved, per_token = self.open_backlog
        return round(per_token * max(reserved, potential + waiting * output_tokens))


def price_v1(
    slot: Slot,
    sums: LedgerSums,
    pending: int,
    speed: Speed,
    policy: RoutingPolicy,
    health: int,
    rate: float,
    *,
    more: int = 0,
) -> Price:
    """Cost v1; `pending` counts the session's reservations of all models, `health` is its penalty in µs.

    `more` is by how much the slot's requests grew since its report.
    """
    tps = decode_tps(slot, speed.static, speed.median, policy.load_factor)
    occupancy = slot.running + slot.waiting + more
    if sums.count > occupancy:
        occupancy = sums.count
    state, queue, waiting_for = STATE_US[slot.state], QUEUE_US * occupancy, PENDING_US * pending
    refusals = round(CAPACITY_RATE_US * rate) if rate else 0
    budget, open_backlog, backlog = slot.budget, None, 0
    if budget is not None and budget.max > 0:
        backlog = round(1_000_000 * (budget.used + budget.queued) / tps)
    elif slot.waiting:
        open_backlog = (slot.potential, slot.waiting, sums.tokens, 1_000_000 / tps)
    elif slot.potential or sums.tokens:
        backlog = round(1_000_000 * max(slot.potential, sums.tokens) / tps)
    return Price(
        state + queue + waiting_for + backlog + health + refusals,
        per_token_us(speed.prefill),
        per_token_us(tps),
        state,
        queue,
        waiting_for,
        backlog,
        health,
        refusals,
        open_backlog,
    )


def price_v2(
    slot: Slot, sums: LedgerSums, speed: Speed, policy: RoutingPolicy, health: int, rate: float, *, more: int = 0
) -> Price:
    """Cost v2 in the same form: the load, the prompts ahead, the own first token, decoding, and the slowdown of others.

    In the terms `state` is the load, `queue` the prompts ahead, `pending` the own first token.
    """
    solo = speed.own or speed.static
    if slot.tps_decode > 0:
        solo = solo_rate(slot.tps_decode, slot.running, policy.load_factor)
    prefill = 1_000_000 / prefill_tps(slot, speed.prefill)
    delivery = Delivery(1_000_000 / max(1.0, solo), prefill, policy.load_factor)
    queue, (first, output) = delivery.ahead(sums), delivery.beside(max(slot.running + more, sums.count))
    load = STATE_US[slot.state]
    if load and speed.load_seconds is not None:
        load = round(1_000_000 * speed.load_seconds)
    state = 2 * load
    refusals = round(CAPACITY_RATE_US * rate) if rate else 0
    return Price(
        state + queue + first + health + refusals,
        on_grid(2 * prefill),
        output,
        state,
        queue,
        first,
        0,
        health,
        refusals,
        delivery=delivery,
    )


def price_of(
    session: Session, slot: Slot, model: str, faults: PairFaults, context: GateContext, speed: Speed, health: int
) -> Price:
    """Price a model on a session by the cost model in force."""
    policy, sums = context.policy, session.ledger.sums(model)
    fresh, ended = since_report(session, slot)
    if policy.cost_model == "v2":
        return price_v2(slot, sums, speed, policy, health, faults.rate, more=fresh - ended)
    return price_v1(slot, sums, len(session.ledger.entries), speed, policy, health, faults.rate, more=fresh - ended)


def priced_tokens(request: RoutedRequest, context: GateContext) -> tuple[int, int]:
    """Prompt and output tokens that the cost counts, on the grid.

    The output is the bound of the request (v1), or what requests of its kind really produce (v2).
    """
    output = request.max_tokens
    if context.policy.cost_model == "v2":
        expected, prior = context.estimates.output_tokens, context.policy.expected_output
        known = prior if expected is None else math.ceil(expected(request.model, request.account_id, output))
        output = min(output, known)
    return tokens_on_grid(request.prompt_tokens), tokens_on_grid(output)


def candidate(
    session: Session, request: RoutedRequest, context: GateContext, now: float, *, faults: PairFaults | None = None
) -> Candidate:
    """Price the request on a provider that passed the gates, with everything that choosing compares.

    `faults` saves the question to fault memory where the answer is known.
    """
    model, policy, live = request.model, context.policy, session.live
    slot, speed = session.slot(model), speed_of(session, model, context)
    if faults is None:
        faults = context.faults.pair(session.ident.stable_id, model, now)
    penalty = health_us(live, total_memory_gb(session))
    price = price_of(session, slot, model, faults, context, speed, penalty)
    prompt, output = priced_tokens(request, context)
    return Candidate(
        session,
        price.terms(prompt, output),
        price.total(prompt, output),
        in_flight(session, model),
        len(session.ledger.entries),
        in_flight_total(session) / provider_cap(session),
        estimate_ttft(session, request, context),
        decode_tps(slot, speed.static, speed.median, policy.load_factor),
        speed.static,
        projected_tps(slot, speed.static, policy.load_factor),
        owned_by(session, request.account_id),
    )
