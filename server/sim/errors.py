"""What stops a simulation before or while it runs: bad input, or a run without end."""

from __future__ import annotations


class SimulationError(Exception):
    """A trace, fleet or option that cannot be used; the text is a full sentence with the value and the remedy."""
