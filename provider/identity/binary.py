"""The hash of the installed entry file, as the signed facts and every challenge answer name it."""

import hashlib
import sys
from pathlib import Path


def entry_file() -> Path:
    """Find the file that started this process; a session without one counts the package's own entry."""
    started = Path(sys.argv[0]) if sys.argv and sys.argv[0] else Path()
    if started.is_file():
        return started.resolve()
    return Path(__file__).resolve().parents[1] / "__init__.py"


def file_hash(path: Path) -> str:
    """Give the lower-case hex SHA-256 of a file, or "" when it cannot be read; blocks."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
