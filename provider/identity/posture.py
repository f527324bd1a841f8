"""How well the system protects this process, measured anew for every challenge.

On Linux the wire's macOS words mean: `sip_enabled` is kernel lockdown and restricted ptrace and a closed process;
`secure_boot_enabled` is the firmware's variable; `authenticated_root` is a root file system with verity. Source: trust
rules, posture mapping on Linux.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from provider.hardening.kernel import LinuxKernel
from provider.host.macos import run_tool

_SECURE_BOOT_VARIABLE: Final = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_EFI_ATTRIBUTE_BYTES: Final = 4
_LOCKED_MODES: Final = ("[integrity]", "[confidentiality]")


class MachinePosture(NamedTuple):
    """Facts of one moment."""

    sip_enabled: bool
    secure_boot_enabled: bool
    authenticated_root: bool
    rdma_disabled: bool


class PostureReader(Protocol):
    """Measures the posture; blocks, never raises: what cannot be measured counts as off."""

    def read(self) -> MachinePosture:
        """Measure now."""


def detect_posture() -> PostureReader:
    """Choose the implementation for the running system."""
    return MacPosture() if sys.platform == "darwin" else LinuxPosture()


class LinuxPosture:
    """`root` is where the system's directories hang; `is_closed` says whether this process is closed to tracers."""

    def __init__(self, root: Path = Path("/"), *, is_closed: Callable[[], bool] | None = None) -> None:
        self._root = root
        self._is_closed = is_closed or (lambda: LinuxKernel().dumpable() == 0)

    def read(self) -> MachinePosture:
        """Read lockdown, ptrace scope, secure boot, verity and RDMA devices."""
        return MachinePosture(
            sip_enabled=self._is_locked_down() and self._is_ptrace_restricted() and self._is_closed(),
            secure_boot_enabled=self._secure_boot(),
            authenticated_root=self._root_has_verity(),
            rdma_disabled=not self._entries("sys/class/infiniband"),
        )

    def _is_locked_down(self) -> bool:
        return any(mode in self._text("sys/kernel/security/lockdown") for mode in _LOCKED_MODES)

    def _is_ptrace_restricted(self) -> bool:
        scope = self._text("proc/sys/kernel/yama/ptrace_scope").strip()
        return scope.isdigit() and int(scope) >= 1

    def _secure_boot(self) -> bool:
        try:
            value = (self._root / _SECURE_BOOT_VARIABLE).read_bytes()
        except OSError:
            return False
        return len(value) == _EFI_ATTRIBUTE_BYTES + 1 and value[_EFI_ATTRIBUTE_BYTES] == 1

    def _root_has_verity(self) -> bool:
        """Follow the root mount's device number to its device-mapper target; verity targets are named in its uuid."""
        for line in self._text("proc/self/mountinfo").splitlines():
            fields = line.split()
            if len(fields) > 4 and fields[4] == "/":
                uuid = self._text(f"sys/dev/block/{fields[2]}/dm/uuid")
                return uuid.startswith("CRYPT-VERITY-")
        return False

    def _text(self, path: str) -> str:
        try:
            return (self._root / path).read_text(errors="replace")
        except OSError:
            return ""

    def _entries(self, path: str) -> list[str]:
        try:
            return [entry.name for entry in (self._root / path).iterdir()]
        except OSError:
            return []


class MacPosture:
    """Asks the system's own tools; `run` stands for them in tests."""

    def __init__(self, run: Callable[[list[str]], str] = run_tool) -> None:
        self._run = run

    def read(self) -> MachinePosture:
        """Ask for System Integrity Protection, the boot policy, the sealed root and RDMA."""
        integrity = self._run(["/usr/bin/csrutil", "status"]).lower()
        root = self._run(["/usr/bin/csrutil", "authenticated-root", "status"]).lower()
        rdma = self._run(["/usr/bin/rdma_ctl", "status"]).lower()
        sip = "enabled" in integrity and "disabled" not in integrity
        return MachinePosture(
            sip_enabled=sip,
            # Machines with Apple silicon boot signed systems only, unless integrity protection was given up.
            secure_boot_enabled=sip,
            authenticated_root="enabled" in root and "disabled" not in root,
            rdma_disabled=not rdma or "disabled" in rdma,
        )
