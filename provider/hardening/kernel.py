"""The system calls that protect a process, by system; every method says whether the protection is in effect now."""

import ctypes
import resource
import sys
from pathlib import Path
from typing import Final, Protocol

_PR_GET_DUMPABLE: Final = 3
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_GET_NO_NEW_PRIVS: Final = 39
_PT_DENY_ATTACH: Final = 31


class Kernel(Protocol):
    """Protections are applied and then read back; none of the methods raises."""

    def forbid_core_dumps(self) -> bool:
        """Set the size limit of core files to 0."""

    def forbid_debugger(self) -> bool:
        """Close this process to debuggers and memory readers of the same user; False if one is attached already."""

    def forbid_new_privileges(self) -> bool:
        """Make sure that no program started from here gains privileges; True where the system has no such thing."""

    def debugger_attached(self) -> bool:
        """Whether somebody traces this process now."""


def this_kernel() -> Kernel:
    """Choose the implementation for the running system."""
    return MacKernel() if sys.platform == "darwin" else LinuxKernel()


def limit_core_dumps() -> bool:
    """Set both limits of RLIMIT_CORE to 0 and read them back."""
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError):
        return False
    return resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)


class LinuxKernel:
    """`prctl` through the C library, and /proc for what it says."""

    def __init__(self, proc: Path = Path("/proc/self")) -> None:
        self._library = ctypes.CDLL(None, use_errno=True)
        self._proc = proc

    def forbid_core_dumps(self) -> bool:
        """Set the size limit of core files to 0."""
        return limit_core_dumps()

    def forbid_debugger(self) -> bool:
        """Clear the dumpable flag: memory and tracing are then closed to other processes of the user."""
        self._prctl(_PR_SET_DUMPABLE, 0)
        return self.dumpable() == 0 and not self.debugger_attached()

    def forbid_new_privileges(self) -> bool:
        """Set no_new_privs."""
        self._prctl(_PR_SET_NO_NEW_PRIVS, 1)
        return self._prctl(_PR_GET_NO_NEW_PRIVS, 0) == 1

    def debugger_attached(self) -> bool:
        """Read the tracer's process id; an unreadable status counts as attached."""
        try:
            status = (self._proc / "status").read_text()
        except OSError:
            return True
        tracer = next((line.split()[1] for line in status.splitlines() if line.startswith("TracerPid:")), "")
        return tracer != "0"

    def dumpable(self) -> int:
        """Read the dumpable flag: 0 is closed."""
        return self._prctl(_PR_GET_DUMPABLE, 0)

    def _prctl(self, option: int, value: int) -> int:
        return int(
            self._library.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))
        )


class MacKernel:
    """`ptrace` deny-attach; macOS has no no_new_privs."""

    def __init__(self) -> None:
        self._denied = False

    def forbid_core_dumps(self) -> bool:
        """Set the size limit of core files to 0."""
        return limit_core_dumps()

    def forbid_debugger(self) -> bool:
        """Deny debuggers; the call ends the process if one is attached."""
        library = ctypes.CDLL(None, use_errno=True)
        self._denied = library.ptrace(_PT_DENY_ATTACH, 0, None, 0) == 0
        return self._denied

    def forbid_new_privileges(self) -> bool:
        """Nothing to do here."""
        return True

    def debugger_attached(self) -> bool:
        """After a successful deny-attach nobody is attached."""
        return not self._denied
