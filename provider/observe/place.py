"""Where an exception was raised, without anything that it says."""

import traceback
from pathlib import PurePath


def last_place(error: BaseException, depth: int = 3) -> str:
    """Give `file:line` of the last frames, the innermost last; never the exception's text or any value."""
    frames = traceback.extract_tb(error.__traceback__)[-depth:]
    return " ".join(f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in frames)
