"""A coordinator in which functions can be told to raise: `python -m tests.testbed.sabotage serve …`.

The file `targets` in the home directory lists them, one `module:Class.function` a line. When the file `sabotage` names
one of them, SIGUSR2 makes its next call raise `Sabotaged`, once; the file `sabotaged` tells that it did. The text of
the exception holds the call's arguments and the secret of the file `secret`: whatever prints it gives the secret away.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

TARGETS_FILE, ORDER_FILE, SECRET_FILE, DONE_FILE = "targets", "sabotage", "secret", "sabotaged"


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


def main() -> None:
    """Wrap the functions before anything holds on to one, obey the signal, and be the coordinator."""
    home = Path.home()
    traps = {target: Trap(target) for target in (home / TARGETS_FILE).read_text().split()}

    def arm(*_: object) -> None:
        order = home / ORDER_FILE
        traps[order.read_text()].armed = True
        order.unlink()

    signal.signal(signal.SIGUSR2, arm)
    from server.cli.main import main as serve

    serve()


if __name__ == "__main__":
    main()
