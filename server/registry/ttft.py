"""When the first token of a request may be expected, calibrated by what earlier estimates were worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from server.registry.cost import STATE_US
from server.registry.grid import on_grid, per_token_us
from server.registry.rates import STATE_MS, decode_tps, prefill_tps
from server.registry.speed import speed_of
from server.registry.views import in_flight, since_report

if TYPE_CHECKING:
    from server.registry.gates import GateContext
    from server.registry.request import RoutedRequest
    from server.registry.speed import Speed
    from server.registry.state import Session, Slot


class TtftPrice(Struct, frozen=True, gc=False):
    """Estimated time to first token: a constant and a part per prompt token, both in µs."""

    constant: int
    prompt: int

    def microseconds(self, prompt_tokens: int) -> int | None:
        """Return the estimate; None when the provider gives no capacity report."""
        return None if self.constant < 0 else self.constant + prompt_tokens * self.prompt


UNKNOWN_TTFT: Final = TtftPrice(-1, 0)


def ttft_price(session: Session, model: str, context: GateContext) -> TtftPrice:
    """The calibrated estimate in the form of a price, its rate per prompt token on the grid."""
    if not session.live.has_capacity:
        return UNKNOWN_TTFT
    slot, speed, policy = session.slot(model), speed_of(session, model, context), context.policy
    tps = decode_tps(slot, speed.static, speed.median, policy.load_factor)
    prompt = (1 + ahead(session, slot, model)) * speed.ttft_ratio * 1_000_000 / prefill_tps(slot, speed.prefill)
    first = per_token_us(tps) * speed.ttft_ratio
    return TtftPrice(STATE_US[slot.state] + on_grid(first), on_grid(prompt))


def ahead(session: Session, slot: Slot, model: str) -> int:
    """Requests whose prompts come first: what waits in the report, and what it does not count."""
    _, ended = since_report(session, slot)
    return in_flight(session, model) + ended - slot.running


def calibrated_ttft_ms(slot: Slot, speed: Speed, *, prompt_tokens: int, ahead: int, tps: float) -> float:
    """Estimated time to first token in ms, its flow part scaled by what estimates were worth so far."""
    prefill = slot.tps_prefill if slot.tps_prefill > 0 else speed.prefill
    flow = 1000 * (1 + ahead) * prompt_tokens / prefill + 1000 / tps
    return STATE_MS[slot.state] + flow * speed.ttft_ratio


def saved_ms(slot: Slot, speed: Speed, tokens: int) -> float:
    """What so many cached tokens of the prompt take off the estimate."""
    return 1000 * tokens / prefill_tps(slot, speed.prefill) * speed.ttft_ratio


def estimate_ttft(session: Session, request: RoutedRequest, context: GateContext) -> float | None:
    """Calibrated time to first token of the request on this provider in ms; None without a capacity report."""
    if not session.live.has_capacity:
        return None
    slot, speed = session.slot(request.model), speed_of(session, request.model, context)
    tps = decode_tps(slot, speed.static, speed.median, context.policy.load_factor)
    first = ahead(session, slot, request.model)
    return calibrated_ttft_ms(slot, speed, prompt_tokens=request.prompt_tokens, ahead=first, tps=tps)
