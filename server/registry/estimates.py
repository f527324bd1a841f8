"""What others have learnt from outcomes and routing asks for: all optional, set once when the coordinator is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True)
class Estimates:
    """Questions about a model on a chip family, a model on a chip class, and a model for an account with a bound.

    `ttft_ratio` scales first-token estimates, `load_seconds` is the time that loads took (None: not known),
    `output_tokens` the output that a request of the account is expected to have, `machine_tps` the decode rate of
    one stream alone that a machine (by stable identity) last had for a model, on an earlier connection (0: not known),
    `doubtful` whether a machine is known to fail often.
    """

    ttft_ratio: Callable[[str, str], float] | None = None
    load_seconds: Callable[[str, str], float | None] | None = None
    output_tokens: Callable[[str, str | None, int], float] | None = None
    machine_tps: Callable[[str, str], float] | None = None
    doubtful: Callable[[str], bool] | None = None
