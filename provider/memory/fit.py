"""Whether a model fits a machine at all, when nothing else is loaded; pure."""

from provider.memory import policy
from provider.memory.policy import PolicySettings


def fits_machine(padded: int, physical: int, settings: PolicySettings) -> bool:
    """Whether weights of this padded size may load on a machine with nothing else on it; all in bytes."""
    reserves = policy.reserves_for(physical, padded, settings)
    free = policy.free_for_load(physical, 0, physical, promises=0, fraction=settings.cap_fraction, reserves=reserves)
    return policy.may_load(padded, free, reserves)


def needed_bytes(padded: int, physical: int, settings: PolicySettings) -> int:
    """What a load of these padded weights needs free beside the reserve of the operator."""
    return padded + policy.reserves_for(physical, padded, settings).load_headroom
