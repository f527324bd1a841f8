"""The unified memory cap as pure formulas on bytes; results are never negative.

Physical and available memory come from `provider.memory.system`, allocator figures from `provider.memory.allocator`.
"""

from dataclasses import dataclass

MIB = 1 << 20
GIB = 1 << 30

DEFAULT_CAP_FRACTION = 0.90
OS_FLOOR = 2 * GIB
DEFAULT_ACTIVATION_RESERVE = 3 * GIB
DEFAULT_OPERATOR_RESERVE = 4 * GIB
MINIMUM_KV = GIB
WEIGHT_PADDING_TENTHS = 12

SMALL_MACHINE = 8 * GIB
SMALL_MACHINE_RESERVE = GIB
SMALL_MODEL = 100_000_000
SMALL_MODEL_RESERVE = 64 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """What the machine owner may set. `activation_reserve` only ever raises the built-in one; None means built in."""

    cap_fraction: float = DEFAULT_CAP_FRACTION
    operator_reserve: int | None = None
    activation_reserve: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserves:
    """Bytes kept free for others and for working arrays, for a given machine and its largest model."""

    os_floor: int
    operator: int
    activation: int
    minimum_kv: int

    @property
    def load_headroom(self) -> int:
        """What must remain beside freshly loaded weights."""
        return self.activation + self.minimum_kv


def reserves_for(physical: int, largest_model: int, settings: PolicySettings) -> Reserves:
    """Choose reserves for a machine whose largest resident or candidate model has `largest_model` bytes (0: none).

    A model under 100 MB needs neither the floor nor gigabytes of working memory, so that it runs in 2 GiB. A machine of
    at most 8 GiB has smaller built-in reserves, because the usual ones would leave it nothing.
    """
    if 0 < largest_model < SMALL_MODEL:
        activation = max(SMALL_MODEL_RESERVE, 4 * largest_model, settings.activation_reserve or 0)
        operator = settings.operator_reserve or 0
        return Reserves(os_floor=0, operator=operator, activation=activation, minimum_kv=SMALL_MODEL_RESERVE)
    small = physical <= SMALL_MACHINE
    built_in = SMALL_MACHINE_RESERVE if small else DEFAULT_ACTIVATION_RESERVE
    operator_default = SMALL_MACHINE_RESERVE if small else DEFAULT_OPERATOR_RESERVE
    return Reserves(
        os_floor=OS_FLOOR,
        operator=operator_default if settings.operator_reserve is None else settings.operator_reserve,
        activation=max(built_in, settings.activation_reserve or 0),
        minimum_kv=MINIMUM_KV,
    )


def hard_cap(physical: int, fraction: float, reserves: Reserves) -> int:
    """Most that we may ever use of the machine."""
    return max(0, min(int(physical * fraction), physical - reserves.os_floor))


def effective_cap(physical: int, fraction: float, reserves: Reserves) -> int:
    """Hard cap less what the operator keeps."""
    return max(0, min(hard_cap(physical, fraction, reserves), physical - reserves.operator))


def live_kv_headroom(cap: int, used: int, available: int, reserves: Reserves) -> int:
    """Bytes that caches may still take, under the effective `cap` and what the system has."""
    return max(0, min(cap - used, available) - reserves.activation)


def load_reserve(physical: int, fraction: float, reserves: Reserves) -> int:
    """What a load must leave untouched."""
    return max(reserves.operator, physical - hard_cap(physical, fraction, reserves))


def free_for_load(
    physical: int,
    used: int,
    available: int,
    *,
    promises: int,
    fraction: float,
    reserves: Reserves,
    reclaimable: int = 0,
) -> int:
    """Bytes that a load may take now, with `reclaimable` bytes of ours given back first; headroom still included."""
    reachable = min(physical - used + reclaimable, available + reclaimable, physical)
    return max(0, reachable - load_reserve(physical, fraction, reserves) - promises)


def padded_weights(disk_bytes: int) -> int:
    """Estimate of the memory that weights of this size on disk take."""
    return -(-disk_bytes * WEIGHT_PADDING_TENTHS // 10)


def may_load(padded: int, free: int, reserves: Reserves) -> bool:
    """Whether a model of this padded size fits into `free` (from `free_for_load`)."""
    return padded + reserves.load_headroom <= free


def is_serveable(headroom: int, promises: int, reserves: Reserves) -> bool:
    """Whether enough cache remains after a load; `headroom` is measured after the allocator cache was cleared."""
    return headroom >= reserves.minimum_kv + promises


def allocator_limits(physical: int) -> tuple[int, int]:
    """Soft limits to tell the allocator: (memory, cache)."""
    memory = max(2 * GIB, physical - 6 * GIB)
    return memory, min(8 * GIB, memory * 3 // 4)
