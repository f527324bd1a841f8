"""Reading `provider.toml`: every value checked against its setting, every fault with its line.

Source: provider rules, configuration.
"""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from protocol.settings import PREFIX, Form
from provider.config.file_keys import (
    ALL_NAMES,
    FILE_KEYS,
    SUPPORTED_VERSION,
    WINDOWS_ACCEPTED,
    WINDOWS_KEY,
    FileKey,
    windows_text,
)

MAX_FILE_BYTES: Final = 1024 * 1024
_LINE: Final = re.compile(r"line (\d+)")


@dataclass(frozen=True, slots=True)
class FileContent:
    """What a file says: values by full setting name, and full sentences about what is wrong or strange in it."""

    path: Path
    exists: bool
    values: Mapping[str, str]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read_config_file(path: Path, forms: Mapping[str, Form[object]]) -> FileContent:
    """Read a file; a missing one says nothing. `forms` are the settings' forms by full name. Never raises."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return FileContent(path, True, {}, (f"{path} is larger than 1 MiB; is it a configuration?",))
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return FileContent(path, False, {})
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        return FileContent(path, True, {}, (f"{path} cannot be read ({why}); check its owner, mode and encoding.",))
    return parse_config(path, text, forms)


def parse_config(path: Path, text: str, forms: Mapping[str, Form[object]]) -> FileContent:
    """Check the text of a file; pure."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _LINE.search(str(error))
        line = f":{found[1]}" if found else ""
        reason = re.sub(r" \(at .*\)$", "", str(error))
        return FileContent(path, True, {}, (f"{path}{line}: this is not TOML ({reason}).",))
    reader = _Reader(path, text, forms)
    reader.read(tree)
    return FileContent(path, True, reader.values, tuple(reader.problems), tuple(reader.warnings))


class _Reader:
    def __init__(self, path: Path, text: str, forms: Mapping[str, Form[object]]) -> None:
        self.values: dict[str, str] = {}
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._path = path
        self._lines = dict(_key_lines(text))
        self._forms = forms

    def read(self, tree: Mapping[str, object]) -> None:
        for name, value in _leaves(tree):
            key = FILE_KEYS.get(name)
            if name == "config_version":
                self._version(value)
            elif name == WINDOWS_KEY:
                self._windows(value)
            elif key is None:
                self._unknown(name)
            else:
                self._value(key, value)

    def _value(self, key: FileKey, value: object) -> None:
        name = PREFIX + key.setting
        try:
            written = key.kind.text(value)
            self._forms[name].parse(written)
        except ValueError:
            self.problems.append(f"{self._place(key.name)}: {key.name} must be {key.accepted}.")
        else:
            self.values[name] = written

    def _windows(self, value: object) -> None:
        try:
            written, skipped = windows_text(value)
        except ValueError:
            self.problems.append(f"{self._place(WINDOWS_KEY)}: {WINDOWS_KEY} must be {WINDOWS_ACCEPTED}.")
            return
        self.values[PREFIX + "SCHEDULE"] = written
        self.warnings += [f"{self._place(WINDOWS_KEY)}: {sentence}" for sentence in skipped]

    def _version(self, value: object) -> None:
        if value != SUPPORTED_VERSION:
            self.problems.append(
                f"{self._place('config_version')}: config_version must be {SUPPORTED_VERSION}; "
                "this program knows no other form of the file."
            )

    def _unknown(self, name: str) -> None:
        near = difflib.get_close_matches(name, ALL_NAMES, n=1, cutoff=0.6)
        hint = f" (did you mean {near[0]}?)" if near else ""
        self.warnings.append(f"{self._place(name)}: unknown key {name}{hint}")

    def _place(self, name: str) -> str:
        line = self._lines.get(name)
        return str(self._path) if line is None else f"{self._path}:{line}"


def _leaves(tree: Mapping[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    """Give every value by its dotted name; a table is a value only where a key of that name is known."""
    for key, value in tree.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping) and name not in ALL_NAMES:
            yield from _leaves(cast(Mapping[str, object], value), f"{name}.")
        else:
            yield name, value


def _key_lines(text: str) -> Iterator[tuple[str, int]]:
    """Find the line of each key; good enough for files that people write, and only used in messages."""
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            section = stripped.strip("[] \t").split("#")[0].strip("[] \t") + "."
            yield section.rstrip("."), number
        elif "=" in stripped and not stripped.startswith("#"):
            key = stripped.partition("=")[0].strip().replace('"', "").replace(" ", "")
            yield section + key, number
