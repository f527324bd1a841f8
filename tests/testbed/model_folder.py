"""Model folders that are only files, and a download's measures without long waits."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from provider.catalog.limits import DownloadLimits

SMALL = DownloadLimits(
    split_above=64 * 1024,
    piece_bytes=32 * 1024,
    write_bytes=8 * 1024,
    note_bytes=8 * 1024,
    keep_free=1000,
    retry_seconds=(0.001, 0.001, 0.001),
    longest_retry_after=0.05,
)


def write_model_folder(directory: Path, *, weights: int = 200_000, seed: int = 1) -> Path:
    """Write a large file, a small one, one in a subfolder, and one that does not count."""
    (directory / "sub").mkdir(parents=True, exist_ok=True)
    random = Random(seed)
    (directory / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (directory / "tokenizer.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(random.randbytes(weights))
    (directory / "sub" / "adapter.safetensors").write_bytes(random.randbytes(50_000))
    (directory / "README.md").write_text("Not part of the model.")
    return directory
