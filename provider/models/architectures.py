"""Which network architectures the installed engine knows, found without importing it."""

import ast
import functools
import importlib.util
from pathlib import Path


@functools.cache
def known_architectures() -> frozenset[str] | None:
    """Give the values of `model_type` that can be loaded; None when the engine is not installed."""
    specification = importlib.util.find_spec("mlx_lm")
    if specification is None or specification.origin is None:
        return None
    package = Path(specification.origin).parent
    names = {path.stem for path in (package / "models").glob("*.py") if not path.stem.startswith("_")}
    return frozenset(names | _renamed(package / "utils.py"))


def _renamed(path: Path) -> set[str]:
    """Read the table of further names from the engine's source."""
    try:
        tree = ast.parse(path.read_text())
    except (OSError, SyntaxError, ValueError):
        return set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "MODEL_REMAPPING" for target in node.targets
        ):
            table: object = ast.literal_eval(node.value)
            return {str(name) for name in table} if isinstance(table, dict) else set()
    return set()
