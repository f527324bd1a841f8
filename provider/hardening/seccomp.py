"""A filter on system calls for a whole Linux process: what a daemon never needs is refused from then on.

The filter is classic BPF over (architecture, number); a refused call fails with EPERM. It cannot be taken back, and
children inherit it. Source: trust rules, Linux equivalents.
"""

import ctypes
import errno
import platform
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

_SET_MODE_FILTER: Final = 1
_FLAG_TSYNC: Final = 1
_MODE_FILTER_TEXT: Final = "2"

_LOAD_WORD: Final = 0x20
_JUMP_EQUAL: Final = 0x15
_JUMP_GREATER_EQUAL: Final = 0x35
_RETURN: Final = 0x06
_ALLOW: Final = 0x7FFF0000
_FAIL: Final = 0x00050000
_NUMBER_OFFSET: Final = 0
_ARCHITECTURE_OFFSET: Final = 4
_X32_BIT: Final = 0x40000000


class Architecture(NamedTuple):
    """One machine type: its audit code, the call that installs a filter, whether it has a second numbering."""

    audit: int
    seccomp: int
    has_x32: bool
    column: int


ARCHITECTURES: Final = {
    "x86_64": Architecture(0xC000003E, 317, True, 0),
    "aarch64": Architecture(0xC00000B7, 277, False, 1),
    "arm64": Architecture(0xC00000B7, 277, False, 1),
}

REFUSED: Final[dict[str, tuple[int | None, int | None]]] = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "move_mount": (429, 429),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setns": (308, 268),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}
"""By name: the number on x86-64 and on arm64. `io_uring` is here because its work passes no filter."""

PROGRAMS: Final[dict[str, tuple[int | None, int | None]]] = {"execve": (59, 221), "execveat": (322, 281)}
"""Starting other programs; refused on top where the engine needs no compiler."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def numbers_for(architecture: Architecture, *, refuse_programs: bool) -> list[int]:
    """Give the refused numbers of one machine type."""
    table = {**REFUSED, **(PROGRAMS if refuse_programs else {})}
    return sorted(number for row in table.values() if (number := row[architecture.column]) is not None)


def build_filter(architecture: Architecture, refused: Sequence[int]) -> bytes:
    """Assemble the filter: another machine type and refused numbers fail with EPERM, everything else passes."""
    tests = [(_JUMP_GREATER_EQUAL, _X32_BIT)] if architecture.has_x32 else []
    tests += [(_JUMP_EQUAL, number) for number in refused]
    deny_after = [len(tests) - index for index in range(len(tests))]
    code = [
        (_LOAD_WORD, 0, 0, _ARCHITECTURE_OFFSET),
        (_JUMP_EQUAL, 0, len(tests) + 2, architecture.audit),
        (_LOAD_WORD, 0, 0, _NUMBER_OFFSET),
        *((operation, after, 0, value) for (operation, value), after in zip(tests, deny_after, strict=True)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _FAIL | errno.EPERM),
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def install_filter(*, refuse_programs: bool, machine: str | None = None) -> bool:
    """Filter the calls of every thread of this process; False where that is not possible. Needs no_new_privs."""
    architecture = ARCHITECTURES.get((machine or platform.machine()).lower())
    if architecture is None:
        return False
    code = build_filter(architecture, numbers_for(architecture, refuse_programs=refuse_programs))
    program = _Program(len(code) // 8, code)
    library = ctypes.CDLL(None, use_errno=True)
    result = library.syscall(
        ctypes.c_long(architecture.seccomp),
        ctypes.c_ulong(_SET_MODE_FILTER),
        ctypes.c_ulong(_FLAG_TSYNC),
        ctypes.byref(program),
    )
    return result == 0 and is_filtered()


def is_filtered(proc: Path = Path("/proc/self")) -> bool:
    """Whether every thread of this process runs under a filter, as the kernel says."""
    try:
        states = [(thread / "status").read_text() for thread in (proc / "task").iterdir()]
    except OSError:
        return False
    return bool(states) and all(_mode(state) == _MODE_FILTER_TEXT for state in states)


def _mode(status: str) -> str:
    return next((line.split()[1] for line in status.splitlines() if line.startswith("Seccomp:")), "")
