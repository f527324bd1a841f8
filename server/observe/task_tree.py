"""The running trio tasks as an indented tree with the line where each one waits."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import trio

MAX_TASKS: Final = 5_000


def task_tree(root: trio.lowlevel.Task) -> str:
    """Return one line for each task, children indented below their parent; at most 5,000 tasks."""
    lines: list[str] = []
    open_tasks: list[tuple[int, trio.lowlevel.Task]] = [(0, root)]
    while open_tasks and len(lines) < MAX_TASKS:
        depth, task = open_tasks.pop()
        lines.append(f"{'  ' * depth}{task.name} @ {_where(task.coro)}")
        children = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        open_tasks += [(depth + 1, child) for child in sorted(children, key=lambda child: child.name, reverse=True)]
    if open_tasks:
        lines.append(f"… and at least {len(open_tasks)} more")
    return "\n".join(lines)


def _where(coroutine: Any) -> str:
    """Return file:line of the innermost frame of ours or our libraries that the task waits in."""
    place = "running"
    while coroutine is not None:
        frame: types.FrameType | None = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is None:
            break
        if "/trio/" not in frame.f_code.co_filename or place == "running":
            place = f"{frame.f_code.co_filename.rsplit('/', 1)[-1]}:{frame.f_lineno} {frame.f_code.co_name}"
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return place
