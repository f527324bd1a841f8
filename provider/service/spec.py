"""What a background service runs, and how that is remembered."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from provider.files import replace_file

MAX_FILE_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """`program` starts the command line, `arguments` follow it; `restart` asks for a new start after a crash.

    `output_file` takes what the process prints by itself; its log has a file of its own.
    """

    program: tuple[str, ...]
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    home: Path
    output_file: Path
    restart: bool = True

    @property
    def command(self) -> tuple[str, ...]:
        """The whole command line."""
        return (*self.program, *self.arguments)


class ServiceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How the service was installed; `kind` is systemd, launchd or background."""

    kind: str
    program: tuple[str, ...]
    arguments: tuple[str, ...]
    environment: dict[str, str]
    restart: bool = True

    def spec(self, home: Path, output_file: Path) -> ServiceSpec:
        """Give the spec that was recorded."""
        return ServiceSpec(
            program=self.program,
            arguments=self.arguments,
            environment=self.environment,
            home=home,
            output_file=output_file,
            restart=self.restart,
        )


def record_of(kind: str, spec: ServiceSpec) -> ServiceRecord:
    """Give what is to be remembered."""
    return ServiceRecord(
        kind=kind,
        program=spec.program,
        arguments=spec.arguments,
        environment=dict(spec.environment),
        restart=spec.restart,
    )


def write_record(path: Path, record: ServiceRecord) -> None:
    """Replace the file (0600); blocks. Raises `OSError`."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(path, msgspec.json.encode(record) + b"\n")


def read_record(path: Path) -> ServiceRecord | None:
    """Read the file; None without one."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_FILE_BYTES), type=ServiceRecord)
    except (OSError, ValueError):
        return None
