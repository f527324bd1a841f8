"""Whether the engine's libraries are there; told without importing them."""

import importlib.util
from typing import Final

from provider.cli.exits import CommandFailed

LIBRARIES: Final = ("mlx", "mlx_lm")


def require_engine() -> None:
    """Raise `CommandFailed` when a library of the extra `provider` is not installed."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise CommandFailed(
            f"The inference engine is not installed ({', '.join(missing)}).",
            fix="in the source folder: pip install -c constraints.txt '.[provider]'",
        )
