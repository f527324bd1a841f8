"""What a daemon loads first."""

import pytest

from provider.daemon.journal import choose_preload


@pytest.mark.parametrize(
    ("preferred", "wanted", "slots", "chosen"),
    [
        ("small", (), 2, ("big", "small")),
        ("small", ("big", "middle"), 2, ("big", "small")),
        ("small", ("small",), 2, ("small",)),
        ("small", (), 1, ("small",)),
        ("gone", (), 2, ("big", "middle")),
    ],
)
def test_the_preferred_model_is_always_loaded(preferred, wanted, slots, chosen):
    offered = ("big", "middle", "small")
    assert choose_preload(offered, preferred=preferred, wanted=wanted, noted=(), slots=slots) == chosen
