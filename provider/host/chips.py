"""Apple chips by name: family, tier and memory bandwidth; pure tables."""

from typing import Final, NamedTuple

UNKNOWN: Final = "Unknown"
FAMILIES: Final = ("M5", "M4", "M3", "M2", "M1")
"""Newest first, because a name is searched for them in this order."""

_TIERS: Final = ("Ultra", "Max", "Pro")
_OTHER_BANDWIDTH: Final = 100.0
_MANY_GPU_CORES: Final = 40


class Chip(NamedTuple):
    """Family and tier as the wire names them."""

    family: str
    tier: str


class _Bandwidths(NamedTuple):
    """GB/s by tier; `max_large` is the Max chip with at least 40 GPU cores, None means that no such chip exists."""

    base: float
    pro: float
    max_small: float
    max_large: float
    ultra: float | None


_BANDWIDTHS: Final = {
    "M1": _Bandwidths(68, 200, 400, 400, 800),
    "M2": _Bandwidths(100, 200, 400, 400, 800),
    "M3": _Bandwidths(100, 150, 300, 400, 819),
    "M4": _Bandwidths(120, 273, 410, 546, None),
    "M5": _Bandwidths(153, 307, 460, 614, None),
}


def parse_chip(name: str) -> Chip:
    """Find family and tier in a chip's name by case-insensitive words; a family without a tier word is the base chip.

    Source: provider rules, hardware.
    """
    lowered = name.lower()
    family = next((family for family in FAMILIES if family.lower() in lowered.split() or _inside(family, lowered)), "")
    if not family:
        return Chip(UNKNOWN, UNKNOWN)
    return Chip(family, next((tier for tier in _TIERS if tier.lower() in lowered), "Base"))


def bandwidth_gbs(chip: Chip, gpu_cores: int) -> float:
    """Give the memory bandwidth of an Apple chip in GB/s; 100 for chips that the table does not know."""
    row = _BANDWIDTHS.get(chip.family)
    if row is None:
        return _OTHER_BANDWIDTH
    match chip.tier:
        case "Base":
            return row.base
        case "Pro":
            return row.pro
        case "Max":
            return row.max_large if gpu_cores >= _MANY_GPU_CORES else row.max_small
        case "Ultra" if row.ultra is not None:
            return row.ultra
    return _OTHER_BANDWIDTH


def _inside(family: str, lowered: str) -> bool:
    """Names such as `AppleM3Max` run together; an unrelated part number such as `Ryzen 5 M3800` must not match."""
    return "apple" in lowered and family.lower() in lowered
