"""A lock on what Python code of this process may do, from the moment when everything needed is there.

It refuses to run code from files outside of the installation, to load further libraries by name, to start programs
other than the system's own tools, and to watch or search the interpreter. It stops mistakes and many tricks of code
that was smuggled in, not native code: that is the system call filter's part. It cannot be taken back.
"""

import os.path
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

SYSTEM_TOOLS: Final = frozenset(
    {
        "/bin/ps",
        "/usr/bin/caffeinate",
        "/usr/bin/csrutil",
        "/usr/bin/pmset",
        "/usr/bin/rdma_ctl",
        "/usr/sbin/diskutil",
        "/usr/sbin/ioreg",
        "/usr/sbin/sysctl",
        "/usr/sbin/system_profiler",
    }
)
"""Programs of macOS that posture and metrics ask; the system protects them from changes."""

REFUSED_EVENTS: Final = frozenset(
    {
        "gc.get_objects",
        "gc.get_referrers",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.system",
        "pty.spawn",
        "sys._current_exceptions",
        "sys._current_frames",
        "sys.setprofile",
        "sys.settrace",
    }
)

_LIBRARY_ROOTS: Final = ("/usr/lib", "/lib", "/System/Library", "/usr/local/cuda")


class RuntimeLocked(PermissionError):
    """The daemon tried what it never needs after its start."""


def code_allowed(file_name: str, roots: Collection[str]) -> bool:
    """Whether code of this file may run: it has no file (a template, an evaluated text), or lies below a root."""
    return file_name.startswith("<") or _is_below(file_name, roots)


def installed_roots() -> frozenset[str]:
    """Where the interpreter, its packages and this program lie, each with a slash at its end."""
    own = Path(__file__).resolve().parents[2]
    found = {own, *(Path(path) for path in sys.path if path and Path(path).is_dir()), Path(sys.prefix)}
    found |= {Path(sys.base_prefix), Path(sys.exec_prefix)}
    return frozenset({f"{path}/" for path in found} | {f"{path.resolve()}/" for path in found})


def make_hook(
    roots: Collection[str], programs: Collection[str] = SYSTEM_TOOLS
) -> Callable[[str, tuple[Any, ...]], None]:
    """Make the audit hook; it is called for every audited act of the interpreter and must be quick."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "exec":
            code = arguments[0] if arguments else None
            if not code_allowed(getattr(code, "co_filename", "<text>"), roots):
                raise RuntimeLocked("Code from outside of the installation is not run.")
        elif event in REFUSED_EVENTS:
            raise RuntimeLocked(f"{event} is not available in a running provider.")
        elif event == "subprocess.Popen":
            if str(arguments[0]) not in programs:
                raise RuntimeLocked("A running provider starts no other programs.")
        elif event == "ctypes.dlopen":
            name = arguments[0]
            if isinstance(name, str) and "/" in name and not _library_allowed(name, roots):
                raise RuntimeLocked("Libraries from outside of the system and the installation are not loaded.")

    return hook


def lock_runtime(programs: Collection[str] = ()) -> bool:
    """Add the lock to this process and prove that it holds; `programs` may be started beside the system's tools."""
    sys.addaudithook(make_hook(installed_roots(), SYSTEM_TOOLS | set(programs)))
    return is_locked()


def is_locked() -> bool:
    """Try a refused act that does nothing where it is allowed."""
    try:
        sys.settrace(sys.gettrace())
    except RuntimeLocked:
        return True
    return False


def _library_allowed(name: str, roots: Collection[str]) -> bool:
    return _is_below(name, (*_LIBRARY_ROOTS, *roots))


def _is_below(name: str, roots: Collection[str]) -> bool:
    """Whether a path lies below a root, also when it goes up on its way; links are not followed."""
    path = os.path.normpath(name) if ".." in name else name
    return any(path.startswith(root) for root in roots)
