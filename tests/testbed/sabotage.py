"""A daemon in which functions can be told to raise: `python -m tests.testbed.sabotage serve …`, or `start …`.

`serve` is the coordinator, `start` the provider. The file `targets` in the home directory lists the functions, one
`module:Class.function` a line. When the file `sabotage` names one of them, SIGUSR2 makes its next call raise
`Sabotaged`, once; the file `sabotaged` tells that it did. The text of the exception holds the call's arguments and the
secret of the file `secret`: whatever prints it gives the secret away.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

TARGETS_FILE, ORDER_FILE, SECRET_FILE, DONE_FILE = "targets", "sabotage", "secret", "sabotaged"
NO_SPOUT_FILE = "no-spout"
"""Where this file lies, the coordinator's pump does not write to consumers itself; all output goes through Python."""


class Sabotaged(Exception):
    """Raised instead of doing the work."""


class Trap:
    """One wrapped function; armed, its next call raises."""

    def __init__(self, target: str) -> None:
        module_name, _, path = target.partition(":")
        holder: Any = importlib.import_module(module_name)
        *parents, name = path.split(".")
        for parent in parents:
            holder = getattr(holder, parent)
        self.target = target
        self.armed = False
        setattr(holder, name, self._wrapped(inspect.getattr_static(holder, name)))

    def _wrapped(self, original: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(original):

            @functools.wraps(original)
            async def replaced_async(*arguments: Any, **named: Any) -> Any:
                self._spring(arguments, named)
                return await original(*arguments, **named)

            return replaced_async

        @functools.wraps(original)
        def replaced(*arguments: Any, **named: Any) -> Any:
            self._spring(arguments, named)
            return original(*arguments, **named)

        return replaced

    def _spring(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        if self.armed:
            self.armed = False
            (Path.home() / DONE_FILE).write_text(self.target)
            secret = (Path.home() / SECRET_FILE).read_text()
            raise Sabotaged(f"{secret} {secret.encode()!r} {arguments!r} {named!r}") from ValueError(secret)


class Saboteur:
    """The test's side: tells the process with that home directory what shall raise."""

    def __init__(self, home: Path, secret: str, targets: list[str]) -> None:
        self._home = home
        (home / SECRET_FILE).write_text(secret)
        (home / TARGETS_FILE).write_text("\n".join(targets))

    @property
    def secret_file(self) -> Path:
        """The one file that holds the secret by right."""
        return self._home / SECRET_FILE

    async def arm(self, target: str, pid: int) -> None:
        """Make the next call of `target` raise, in the running process `pid`."""
        (self._home / DONE_FILE).unlink(missing_ok=True)
        (self._home / ORDER_FILE).write_text(target)
        os.kill(pid, signal.SIGUSR2)
        with trio.fail_after(5):
            while (self._home / ORDER_FILE).exists():
                await trio.sleep(0.002)

    def sprung(self, target: str) -> bool:
        """Tell whether it did."""
        done = self._home / DONE_FILE
        return done.exists() and done.read_text() == target


def main() -> None:
    """Wrap the functions before anything holds on to one, obey the signal, and be the daemon."""
    home = Path.home()
    if sys.argv[1] == "start":
        from tests.testbed.spelling import prepare_provider

        prepare_provider(home)
    elif (home / NO_SPOUT_FILE).exists():
        streaming: Any = importlib.import_module("server.answer.streaming")
        streaming.open_spout = lambda _socket: None
    traps = {target: Trap(target) for target in (home / TARGETS_FILE).read_text().split()}

    def arm(*_: object) -> None:
        order = home / ORDER_FILE
        traps[order.read_text()].armed = True
        order.unlink()

    signal.signal(signal.SIGUSR2, arm)
    if sys.argv[1] == "start":
        from provider.cli import main as serve
    else:
        from server.cli.main import main as serve
    serve()


if __name__ == "__main__":
    main()
