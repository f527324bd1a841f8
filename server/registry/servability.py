"""Whether a request could ever be served: structural limits, compared with ceilings and never with live headroom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from server.registry.admission import activation_reserve_gb, cold_budget_tokens
from server.registry.state import SlotState
from server.registry.views import total_memory_gb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.registry.catalog import Catalog
    from server.registry.state import Session

PROMPT_CALIBRATION: Final[Mapping[str, float]] = {"gpt-oss": 1.3}
"""Model families whose prompts are denser than the byte estimate says; never lowers an estimate."""


def exceeds_context(model: str, prompt_tokens: int, max_tokens: int, context_window: int) -> bool:
    """Whether calibrated prompt and output are longer than the model's context; an unknown limit (0) is not."""
    if context_window <= 0:
        return False
    factor = max((value for family, value in PROMPT_CALIBRATION.items() if family in model), default=1.0)
    return max(prompt_tokens, prompt_tokens * factor) + max_tokens > context_window


def structural_budget(session: Session, model: str, catalog: Catalog) -> int | None:
    """Tokens that a provider could hold of a model when nothing else ran; None when that is unknown."""
    slot = session.slot(model)
    if slot.budget is not None and slot.budget.max > 0:
        return slot.budget.max
    ad = session.caps.models.get(model)
    memory = total_memory_gb(session)
    if slot.state is SlotState.RESIDENT or ad is None or memory <= 0:
        return None
    size = catalog.size_gb(ad)
    if size <= 0:
        return None
    reserve = activation_reserve_gb(size, session.caps.activation_gb)
    return cold_budget_tokens(memory, catalog.load_gib(ad), slot.kv_rate, reserve)
