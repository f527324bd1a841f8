"""The pool of warm machines: what each model needs, which machines to load next, and the idle room for backups."""

from server.pool.hedging import FleetHedging
from server.pool.run import PoolRunner
from server.pool.swap_planner import LoadOrder, plan_swaps
from server.pool.warm_pool import PoolPolicy, PoolRound, PoolSnapshot, WarmPool

__all__ = [
    "FleetHedging",
    "LoadOrder",
    "PoolPolicy",
    "PoolRound",
    "PoolRunner",
    "PoolSnapshot",
    "WarmPool",
    "plan_swaps",
]
