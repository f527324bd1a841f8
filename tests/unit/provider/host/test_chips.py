"""Chip tables."""

import pytest

from provider.host.chips import bandwidth_gbs, parse_chip


@pytest.mark.parametrize(
    ("name", "cores", "family", "tier", "bandwidth"),
    [
        ("Apple M1", 8, "M1", "Base", 68),
        ("Apple M1 Ultra", 64, "M1", "Ultra", 800),
        ("Apple M2 Pro", 19, "M2", "Pro", 200),
        ("Apple M3 Max", 30, "M3", "Max", 300),
        ("Apple M3 Max", 40, "M3", "Max", 400),
        ("apple m3 ultra", 80, "M3", "Ultra", 819),
        ("Apple M4 Pro", 20, "M4", "Pro", 273),
        ("Apple M4 Max", 32, "M4", "Max", 410),
        ("Apple M4 Max", 40, "M4", "Max", 546),
        ("Apple M4 Ultra", 80, "M4", "Ultra", 100),
        ("Apple M5", 10, "M5", "Base", 153),
        ("Apple M5 Max", 40, "M5", "Max", 614),
        ("AppleM5Max", 40, "M5", "Max", 614),
        ("AMD EPYC 9654", 0, "Unknown", "Unknown", 100),
        ("Intel Core m3-8100Y", 0, "Unknown", "Unknown", 100),
        ("", 0, "Unknown", "Unknown", 100),
    ],
)
def test_chips_are_read_from_their_names(name, cores, family, tier, bandwidth):
    chip = parse_chip(name)
    assert chip == (family, tier)
    assert bandwidth_gbs(chip, cores) == bandwidth
