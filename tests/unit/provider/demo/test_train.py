"""The training script writes a loadable model and gives the same weights for the same seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from provider.demo import train
from provider.demo.training.corpus import Topic


def test_same_seed_writes_the_same_files(
    tmp_path: Path, taught: tuple[Topic, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("first", "second"):
        train.train(taught[:8], tmp_path / name, steps=3, seed=11)
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("first", "second")
    )
    assert first == second
    assert set(first) >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert "parameters" in capsys.readouterr().out
