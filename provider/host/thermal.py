"""Thermal states as the wire names them; pure."""

from typing import Final

STATES: Final = ("nominal", "fair", "serious", "critical")
_LIMITS: Final = ((0.80, "nominal"), (0.90, "fair"), (0.97, "serious"))


def thermal_state(part_of_critical: float) -> str:
    """Name the state of a part whose temperature is this fraction of its critical one (0: unknown)."""
    return next((state for limit, state in _LIMITS if part_of_critical < limit), "critical")
