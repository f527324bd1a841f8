"""The most memory that each machine model was ever sold with: a machine's own word is believed up to that.

Models are Apple's identifiers (`sysctl hw.model`). What is not listed draws no base reward.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_MODELS_BY_MOST_GB: Final[Mapping[int, tuple[str, ...]]] = {
    16: ("MacBookAir10,1", "MacBookPro17,1", "Macmini9,1", "iMac21,1", "iMac21,2"),
    24: ("Mac14,2", "Mac14,3", "Mac14,7", "Mac14,15", "Mac15,3", "Mac15,4", "Mac15,5", "Mac15,12", "Mac15,13"),
    32: (
        "MacBookPro18,1",
        "MacBookPro18,3",
        "Mac14,9",
        "Mac14,10",
        "Mac14,12",
        "Mac16,1",
        "Mac16,2",
        "Mac16,3",
        "Mac16,10",
        "Mac16,12",
        "Mac16,13",
        "Mac17,2",
    ),
    36: ("Mac15,6", "Mac15,7"),
    48: ("Mac16,7", "Mac16,8"),
    64: ("MacBookPro18,2", "MacBookPro18,4", "Mac13,1", "Mac16,11", "Mac16,15"),
    96: ("Mac14,5", "Mac14,6", "Mac14,13"),
    128: ("Mac13,2", "Mac15,8", "Mac15,9", "Mac15,10", "Mac15,11", "Mac16,5", "Mac16,6", "Mac16,9"),
    192: ("Mac14,8", "Mac14,14"),
    512: ("Mac15,14",),
}

MOST_MEMORY_GB: Final[Mapping[str, int]] = {
    model: most for most, models in _MODELS_BY_MOST_GB.items() for model in models
}


def believed_memory_gb(machine_model: str, reported_gb: int) -> int | None:
    """Give the memory that counts: what is reported, at most the model's; None for an unknown model."""
    most = MOST_MEMORY_GB.get(machine_model.strip())
    return None if most is None else max(0, min(reported_gb, most))
