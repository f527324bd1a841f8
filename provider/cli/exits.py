"""Exit codes of all commands, and the one exception that ends a command with a sentence for the user."""

from typing import Final

OK: Final = 0
FAILURE: Final = 1
CONFIGURATION: Final = 2
USAGE: Final = 64
INTERNAL: Final = 70
INTERRUPTED: Final = 130


class CommandFailed(Exception):
    """A command cannot go on; the text says what is wrong, `fix` what to do about it."""

    def __init__(self, text: str, *, fix: str = "", code: int = FAILURE) -> None:
        super().__init__(text)
        self.fix = fix
        self.code = code
