"""The running tasks as lines: names and places in the code, never a value."""

from collections.abc import Iterator

import trio

MAX_LINES = 400
MAX_DEPTH = 24


def task_lines() -> list[str]:
    """Describe every task of this run, parents before children."""
    root = trio.lowlevel.current_root_task()
    lines: list[str] = []
    if root is not None:
        for line in _describe(root, 0):
            lines.append(line)
            if len(lines) >= MAX_LINES:
                lines.append("… more tasks are left out")
                break
    return lines


def _describe(task: trio.lowlevel.Task, depth: int) -> Iterator[str]:
    yield f"{'  ' * depth}{task.name}{_place(task)}"
    if depth >= MAX_DEPTH:
        return
    for nursery in task.child_nurseries:
        for child in sorted(nursery.child_tasks, key=lambda found: found.name):
            yield from _describe(child, depth + 1)


def _place(task: trio.lowlevel.Task) -> str:
    frames = [frame for frame, _line in task.iter_await_frames()]
    ours = [frame for frame in frames if "/provider/" in frame.f_code.co_filename]
    if not ours:
        return ""
    last = ours[-1]
    return f" at {last.f_code.co_filename.rpartition('/provider/')[2]}:{last.f_lineno}"
