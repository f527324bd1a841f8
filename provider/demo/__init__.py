"""The demo model: a language model of one million parameters that ships with the provider and needs no download."""

from pathlib import Path
from typing import Final

DEMO_MODEL_ID: Final = "darkbloom-demo"

__all__ = ["DEMO_MODEL_ID", "demo_model_path"]


def demo_model_path() -> Path:
    """Return the directory of the demo model, in the Hugging Face layout that every other model has too."""
    return Path(__file__).resolve().parent / "model"
