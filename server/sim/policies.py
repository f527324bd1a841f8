"""Policies by name: settings given as `name=value`, checked against the records that routing itself reads."""

from __future__ import annotations

from dataclasses import fields as dataclass_fields
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import structs

from server.pool import PoolPolicy
from server.registry import RoutingPolicy
from server.relay.clocks import RelayTimes
from server.relay.hedge import HedgePolicy
from server.relay.history import AttemptLimits
from server.sim.errors import SimulationError
from server.sim.simulation import Policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


CHOICES: Final = {"cost_model": ("v1", "v2"), "min_trust": ("none", "self_signed", "hardware")}
HEDGE: Final = ("hedge", "hedge_at", "hedge_divisor")
POOL: Final = ("warm_pool", "warm_pool_forecast", "warm_pool_interval", "warm_pool_max_loads")


def setting_names() -> tuple[str, ...]:
    """All names that a policy may set."""
    groups = (RoutingPolicy.__struct_fields__, _names(RelayTimes), _names(AttemptLimits), HEDGE, POOL)
    return tuple(sorted({name for group in groups for name in group}))


def parse_settings(words: Iterable[str]) -> dict[str, str]:
    """Split `name=value` words; a repeated name takes its last value."""
    settings = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise SimulationError(f"The setting {word!r} has no value; write name=value.")
        settings[name.strip()] = value.strip()
    return settings


def with_settings(policy: Policy, settings: Mapping[str, str]) -> Policy:
    """Return the policy with these settings changed.

    `first_content_base` (seconds) and `first_content_per_token` set the relay's clock and the estimate in routing that
    goes with it. Raises `SimulationError` for an unknown name or a value of the wrong form.
    """
    routing, times, limits = policy.routing, policy.times, policy.limits
    hedging, pool = policy.hedging, policy.pool
    for name, text in settings.items():
        if name in RoutingPolicy.__struct_fields__:
            value = _value(name, text, _struct_types()[name])
            routing = structs.replace(routing, **{name: value})
        elif name in _names(RelayTimes):
            seconds = _value(name, text, float)
            times = replace(times, **{name: seconds})
            if f"{name}_ms" in RoutingPolicy.__struct_fields__:
                routing = structs.replace(routing, **{f"{name}_ms": 1000 * seconds})
        elif name in _names(AttemptLimits):
            limits = replace(limits, **{name: _value(name, text, int)})
        elif name in HEDGE:
            hedging = _hedging(hedging, name, text)
        elif name in POOL:
            pool = _pool(pool, name, text)
        else:
            raise SimulationError(f"There is no setting {name!r}; choose one of: {', '.join(setting_names())}.")
    return Policy(routing=routing, times=times, limits=limits, trust=policy.trust, hedging=hedging, pool=pool)


def _hedging(hedging: HedgePolicy | None, name: str, text: str) -> HedgePolicy | None:
    if name == "hedge":
        return (hedging or HedgePolicy()) if _value(name, text, bool) else None
    if hedging is None:
        raise SimulationError(f"The setting {name} has no effect while hedge is false; remove one of them.")
    if name == "hedge_at":
        return replace(hedging, at=_value(name, text, float))
    return replace(hedging, divisor=_value(name, text, int))


def _pool(pool: PoolPolicy, name: str, text: str) -> PoolPolicy:
    if name == "warm_pool":
        return structs.replace(pool, enabled=_value(name, text, bool))
    if name == "warm_pool_forecast":
        return structs.replace(pool, forecast=_value(name, text, bool))
    if name == "warm_pool_interval":
        return structs.replace(pool, interval=_value(name, text, float))
    return structs.replace(pool, max_loads=_value(name, text, int))


def _names(record: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclass_fields(record))


def _struct_types() -> dict[str, Any]:
    """The types of the routing settings, read from a record of defaults."""
    default = RoutingPolicy()
    return {name: type(getattr(default, name)) for name in RoutingPolicy.__struct_fields__}


def _value(name: str, text: str, kind: Any) -> Any:
    if name in CHOICES and text not in CHOICES[name]:
        raise SimulationError(f"The setting {name}={text!r} is not usable; choose one of: {', '.join(CHOICES[name])}.")
    if kind in (frozenset, tuple):
        return kind(word for word in text.split(",") if word)
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as error:
        raise SimulationError(
            f"The setting {name}={text!r} is not usable ({error}); give a {kind.__name__}."
        ) from error
