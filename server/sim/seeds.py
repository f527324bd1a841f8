"""Random numbers of a run: an own stream for every purpose, so that a change of one leaves the others as they were.

Two policies are compared on the very same load, the same clients and the same faults because of this.
"""

from __future__ import annotations

from random import Random


def stream(seed: int, *purpose: object) -> Random:
    """Return the generator of one purpose; the same words always give the same numbers."""
    return Random(":".join(map(str, (seed, *purpose))))
