"""A plain background process, for systems without a service manager of the user: containers, root shells."""

import os
import subprocess
from typing import Final

from provider.service.manager import ServiceFailed
from provider.service.spec import ServiceSpec


class Background:
    """A `ServiceManager`. Nothing starts it again after a reboot, and it says so."""

    kind: Final = "background"
    hint: Final = "No service manager of yours runs here: the provider runs in the background until the machine stops."

    def install(self, spec: ServiceSpec) -> None:
        """There is nothing to write down beyond the record."""

    def start(self, spec: ServiceSpec) -> None:
        """See `ServiceManager`."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            log = os.open(spec.output_file, flags, 0o600)
        except OSError as error:
            raise ServiceFailed(f"The file {spec.output_file} cannot be written ({error.strerror}).") from None
        try:
            subprocess.Popen(
                [*spec.program, "supervise", *([] if spec.restart else ["--once"]), "--", *spec.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(spec.environment),
                start_new_session=True,
                cwd=spec.home,
            )
        except OSError as error:
            raise ServiceFailed(f"The provider cannot be started ({error.strerror}).") from None
        finally:
            os.close(log)

    def disarm(self) -> None:
        """An exit status of 0 is not started again."""

    def end(self) -> None:
        """The watching parent ends with its child."""

    def uninstall(self) -> None:
        """There is nothing to remove."""
