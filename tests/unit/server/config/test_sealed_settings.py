"""Settings of sealed requests: counted words, no words in messages, and the ring that they become."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from protocol.settings import SettingsError
from server.config import load_settings
from server.serve.sealing import key_ring
from tests.testbed.sealed_client import KID, MNEMONIC

WINNER = "legal winner thank year wave sausage worth useful legal winner thank yellow"


@pytest.mark.parametrize("count", [1, 11, 13, 25])
def test_other_numbers_of_words_are_refused_at_the_start(count: int) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"DARKBLOOM_COORDINATOR_MNEMONIC": "abandon " * count})
    assert any(f"has {count} words" in problem for problem in caught.value.problems)
    assert not any("abandon" in problem for problem in caught.value.problems)


def test_a_previous_key_needs_a_current_one() -> None:
    with pytest.raises(SettingsError, match="COORDINATOR_MNEMONIC_PREVIOUS"):
        load_settings({"DARKBLOOM_COORDINATOR_MNEMONIC_PREVIOUS": MNEMONIC})


def test_without_words_there_is_no_key() -> None:
    assert key_ring(load_settings({}).settings) is None


def test_words_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "words"
    file.write_text(MNEMONIC + "\n")
    settings = load_settings(
        {"DARKBLOOM_COORDINATOR_MNEMONIC_FILE": str(file), "DARKBLOOM_COORDINATOR_MNEMONIC_PREVIOUS": WINNER}
    ).settings
    ring = key_ring(settings)
    assert ring is not None
    assert ring.previous is not None
    assert (ring.current.kid, ring.previous.kid) == (KID, "ac7a02b2227d17d4")
    assert "abandon" not in repr(settings)


def test_a_typing_error_is_warned_of_without_the_words(caplog: pytest.LogCaptureFixture) -> None:
    wrong = MNEMONIC.replace("about", "abuot")
    with caplog.at_level(logging.INFO):
        assert key_ring(load_settings({"DARKBLOOM_COORDINATOR_MNEMONIC": wrong}).settings) is not None
    assert "typing error" in caplog.text
    assert "abandon" not in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        key_ring(load_settings({"DARKBLOOM_COORDINATOR_MNEMONIC": MNEMONIC}).settings)
    assert caplog.text == ""
