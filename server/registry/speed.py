"""The rates of one model on one machine, taken when the session changes and kept until it changes again.

Fleet medians move a little with every report of every machine. A machine's price follows them with its own next report;
until then it is compared with what it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from server.registry.rates import registered_prefill_tps, static_tps
from server.registry.state import SlotState

if TYPE_CHECKING:
    from server.registry.gates import GateContext
    from server.registry.state import Session, Slot


class Speed(Struct, frozen=True, gc=False):
    """Tokens per second: benchmark or bandwidth (`static`), registered or derived prefill, and what the fleet shows.

    `own` is the rate of one stream alone that the machine had before it came back. `median` counts while the slot
    reports no decode rate: `own`, else the fleet's for the model on this chip family. `solo` is the single-stream rate
    for the quality cap. 0: not known.
    """

    static: float
    prefill: float
    median: float = 0.0
    solo: float = 0.0
    ttft_ratio: float = 1.0
    """What first tokens really took, by what was estimated."""
    load_seconds: float | None = None
    """What loads of the model took on such machines; None when none was seen."""
    own: float = 0.0


def take_speed(session: Session, model: str, context: GateContext) -> Speed:
    """Work the rates out anew."""
    caps, policy = session.caps, context.policy
    static = static_tps(caps)
    return _with_fleet(static, registered_prefill_tps(caps, static, policy), session, model, context)


def follow_speed(before: Speed, session: Session, slot: Slot, model: str, context: GateContext) -> Speed:
    """Take what may have moved since `before` and matters for this slot."""
    if slot.tps_decode > 0 and slot.state is SlotState.RESIDENT and not context.policy.ttft_hard_reject:
        # Its own rate is known: only a busy slot needs the cap, nothing else comes from the fleet.
        if not context.policy.quality_cap or not slot.running + slot.waiting:
            return before
        solo = context.rates.solo(session, model, context.policy)
        return before if solo == before.solo else Speed(before.static, before.prefill, before.median, solo)
    return _with_fleet(before.static, before.prefill, session, model, context)


def _with_fleet(static: float, prefill: float, session: Session, model: str, context: GateContext) -> Speed:
    hardware, policy, estimates = session.caps.hardware, context.policy, context.estimates
    ratio, load, own = estimates.ttft_ratio, estimates.load_seconds, estimates.machine_tps
    known = own(session.ident.stable_id, model) if own is not None else 0.0
    return Speed(
        static,
        prefill,
        known if known > 0 else context.rates.decode_median(model, hardware.chip_family),
        context.rates.solo(session, model, policy) if policy.quality_cap else 0.0,
        ratio(model, hardware.chip_family) if ratio is not None else 1.0,
        load(model, hardware.chip_class) if load is not None else None,
        known,
    )


def speed_of(session: Session, model: str, context: GateContext) -> Speed:
    """Return the rates taken at the session's last change; worked out now for a session that no registry holds."""
    kept = session.speeds.get(model)
    return kept if kept is not None else take_speed(session, model, context)
