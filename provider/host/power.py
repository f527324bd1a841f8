"""Whether the machine runs on battery or saves energy, and keeping it awake while it works."""

import ctypes
import ctypes.util
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Protocol, Self

_KEEP_AWAKE: Final = "PreventUserIdleSystemSleep"
_REASON: Final = "Darkbloom answers requests"
_ASSERTION_ON: Final = 255
_UTF8: Final = 0x08000100


class PowerState(NamedTuple):
    """`on_battery`: no mains power now. `saves_energy`: the system runs slower to use less."""

    on_battery: bool = False
    saves_energy: bool = False


def read_linux_power(root: Path = Path("/")) -> PowerState:
    """Read the power supplies and the platform profile; a machine that says nothing is on mains."""
    supplies = sorted((root / "sys/class/power_supply").glob("*"))
    mains = [_text(supply / "online") for supply in supplies if _text(supply / "type") in ("Mains", "USB")]
    batteries = [supply for supply in supplies if _text(supply / "type") == "Battery"]
    on_battery = bool(batteries) and "1" not in mains and any(_text(b / "status") == "Discharging" for b in batteries)
    return PowerState(on_battery, _text(root / "sys/firmware/acpi/platform_profile") in ("low-power", "quiet"))


def saves_energy() -> bool | None:
    """Whether this machine runs slower to use less, as far as that can be read without starting a program."""
    return read_linux_power().saves_energy if sys.platform == "linux" else None


def parse_pmset(batteries: str, settings: str) -> PowerState:
    """Read the outputs of `pmset -g batt` and `pmset -g`."""
    saving = any(line.split()[:2] == ["lowpowermode", "1"] for line in settings.splitlines())
    return PowerState("'Battery Power'" in batteries, saving)


class Wakefulness(Protocol):
    """Keeps the machine from falling asleep between `hold` and `release`; both are idempotent and never raise."""

    def hold(self) -> None:
        """Begin."""

    def release(self) -> None:
        """End."""


class NoWakefulness:
    """For systems that do not fall asleep while a service runs."""

    def hold(self) -> None:
        """Nothing to do."""

    def release(self) -> None:
        """Nothing to do."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class MacWakefulness(NoWakefulness):
    """A power assertion of the system's own; it ends with the process too. `frameworks` stand for it in tests."""

    def __init__(self, frameworks: "MacPowerCalls | None" = None) -> None:
        self._calls = frameworks or IoKit()
        self._assertion: int | None = None

    def hold(self) -> None:
        """Take the assertion."""
        if self._assertion is None:
            self._assertion = self._calls.create(_KEEP_AWAKE, _REASON)

    def release(self) -> None:
        """Give it back."""
        assertion, self._assertion = self._assertion, None
        if assertion is not None:
            self._calls.release(assertion)


class MacPowerCalls(Protocol):
    """The two calls of the power management framework."""

    def create(self, kind: str, reason: str) -> int | None:
        """Take an assertion and give its number; None when it is refused."""

    def release(self, assertion: int) -> None:
        """Give an assertion back."""


class IoKit:
    """The framework itself, through ctypes."""

    def __init__(self) -> None:
        self._iokit = ctypes.CDLL("/System/Library/Frameworks/IOKit.framework/IOKit")
        self._foundation = ctypes.CDLL("/System/Library/Frameworks/CoreFoundation.framework/CoreFoundation")
        self._foundation.CFStringCreateWithCString.restype = ctypes.c_void_p

    def create(self, kind: str, reason: str) -> int | None:
        """Take an assertion and give its number; None when it is refused."""
        number = ctypes.c_uint32()
        texts = [self._string(kind), self._string(reason)]
        result = self._iokit.IOPMAssertionCreateWithName(
            ctypes.c_void_p(texts[0]), ctypes.c_uint32(_ASSERTION_ON), ctypes.c_void_p(texts[1]), ctypes.byref(number)
        )
        for text in texts:
            self._foundation.CFRelease(ctypes.c_void_p(text))
        return int(number.value) if result == 0 else None

    def release(self, assertion: int) -> None:
        """Give an assertion back."""
        self._iokit.IOPMAssertionRelease(ctypes.c_uint32(assertion))

    def _string(self, text: str) -> int:
        return int(self._foundation.CFStringCreateWithCString(None, text.encode(), ctypes.c_uint32(_UTF8)))


def open_wakefulness() -> Wakefulness:
    """Choose the implementation for the running system."""
    if sys.platform == "darwin":
        try:
            return MacWakefulness()
        except OSError:
            return NoWakefulness()
    return NoWakefulness()


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
