"""Typed settings from layers of texts: a frozen dataclass declares them, `load` reports all errors at once.

Each side writes one dataclass whose fields are made with `setting(...)`; only that side's settings module hands the
process environment to `load`. Nothing here reads the environment by itself.
"""

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar, cast

from protocol.setting_forms import (
    Form,
    HostPort,
    Network,
    Secret,
    boolean,
    choice,
    duration,
    host_port,
    integer,
    networks,
    number,
    pairs,
    path,
    secret,
    secrets,
    size,
    text,
    timestamp,
    url,
    version,
    words,
)

PREFIX: Final = "DARKBLOOM_"
FILE_SUFFIX: Final = "_FILE"
_METADATA: Final = "protocol.settings"
_MASK: Final = "(hidden)"
_UNSET: Final = "(unset)"

T = TypeVar("T")


class SettingsRecord(Protocol):
    """A frozen dataclass whose fields come from `setting`.

    It may have a method `check() -> Iterable[str]` that yields a full sentence for each rule broken across settings.
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


S = TypeVar("S", bound=SettingsRecord)


class SettingsError(Exception):
    """One or more settings cannot be used; `problems` holds a full sentence for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems: Final = tuple(problems)


@dataclass(frozen=True, slots=True)
class Layer:
    """One source of values by full name, such as the environment or a configuration file; earlier layers win."""

    source: str
    values: Mapping[str, str]

    def __repr__(self) -> str:
        return f"<Layer {self.source}, {len(self.values)} values>"


@dataclass(frozen=True, slots=True)
class Setting:
    """Declaration of one setting: full name, form, meaning, and the group under which the reference lists it."""

    name: str
    form: Form[Any]
    meaning: str
    group: str


@dataclass(frozen=True, slots=True)
class Loaded(Generic[S]):
    """The settings, the source of each by full name (`default` when none), and warnings as full sentences."""

    settings: S
    sources: Mapping[str, str]
    warnings: tuple[str, ...]


def setting(
    name: str,
    form: Form[T],
    *,
    meaning: str,
    default: object = dataclasses.MISSING,
    group: str = "",
    prefix: str = PREFIX,
) -> Any:
    """Declare a dataclass field that is read from `prefix + name`.

    Without a default the setting is required. Secrets are kept out of `repr`. `Any` because the type checker takes the
    field's type from its annotation; `load` checks the default against the form.
    """
    declared = Setting(prefix + name, form, meaning, group)
    return dataclasses.field(
        default=cast(Any, default), repr=not form.secret, metadata={_METADATA: declared}, kw_only=True
    )


def declared_settings(record: type[SettingsRecord]) -> dict[str, Setting]:
    """Give all declarations of a record by field name, in order."""
    return {
        field.name: field.metadata[_METADATA] for field in dataclasses.fields(record) if _METADATA in field.metadata
    }


def names_of(record: type[SettingsRecord]) -> frozenset[str]:
    """Give the full names of all settings of a record, the `_FILE` forms of its secrets included."""
    names: set[str] = set()
    for declared in declared_settings(record).values():
        names.add(declared.name)
        if declared.form.secret:
            names.add(declared.name + FILE_SUFFIX)
    return frozenset(names)


def load(
    record: type[S],
    layers: Sequence[Layer],
    *,
    known_elsewhere: Iterable[str] = (),
    read_file: Callable[[Path], str] = Path.read_text,
) -> Loaded[S]:
    """Read every setting of `record` from the first layer that has it.

    `known_elsewhere` are full names that belong to others (the other side, native code), so that they draw no warning.
    Raises `SettingsError` with all problems at once: unreadable values, missing settings, broken cross rules.
    """
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    problems: list[str] = []
    complete = True
    for field_name, declared in declared_settings(record).items():
        try:
            found = _find(declared, layers, read_file)
            if found is not None:
                written, source = found
                values[field_name] = _parsed(declared, written)
                sources[declared.name] = source
                continue
        except ValueError as error:
            problems.append(str(error))
        sources[declared.name] = "default"
        if record.__dataclass_fields__[field_name].default is dataclasses.MISSING:
            complete = False
            if not any(declared.name in problem for problem in problems):
                problems.append(f"{declared.name} is required; write {declared.form.accepted}.")
    # Cross rules run even after unreadable values, on their defaults, so that one start shows all that is wrong.
    if complete:
        settings = record(**values)
        check = getattr(settings, "check", None)
        problems.extend(check() if check is not None else ())
    if problems or not complete:
        raise SettingsError(problems)
    known = names_of(record) | frozenset(known_elsewhere)
    return Loaded(settings, sources, tuple(_unknown_names(layers, known)))


def reference_table(record: type[SettingsRecord]) -> str:
    """Render the reference of all settings as Markdown, one table for each group."""
    lines: list[str] = []
    group: str | None = None
    for field_name, declared in declared_settings(record).items():
        if declared.group != group:
            group = declared.group
            lines += ["", f"### {group}", ""] if group else [""]
            lines += ["| Setting | Form | Default | Meaning |", "|---|---|---|---|"]
        default = record.__dataclass_fields__[field_name].default
        shown = "required" if default is dataclasses.MISSING else f"`{_shown(declared, default)}`"
        cells = (f"`{declared.name}`", declared.form.accepted, shown, declared.meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines).strip() + "\n"


def effective_values(loaded: Loaded[S]) -> list[tuple[str, str, str]]:
    """List (name, value, source) of every setting in order, secrets masked."""
    return [
        (declared.name, _shown(declared, getattr(loaded.settings, field_name)), loaded.sources[declared.name])
        for field_name, declared in declared_settings(type(loaded.settings)).items()
    ]


def _find(declared: Setting, layers: Sequence[Layer], read_file: Callable[[Path], str]) -> tuple[str, str] | None:
    """Find the written value and its source; an empty text counts as not set."""
    file_name = declared.name + FILE_SUFFIX
    for layer in layers:
        written = layer.values.get(declared.name, "").strip()
        file = layer.values.get(file_name, "").strip() if declared.form.secret else ""
        if written and file:
            raise ValueError(f"{declared.name} and {file_name} are both set; keep one of them.")
        if written:
            return written, layer.source
        if file:
            try:
                return read_file(Path(file)).strip(), f"{layer.source}, file {file}"
            except (OSError, UnicodeDecodeError):
                raise ValueError(f"{file_name}={file} cannot be read; name a readable text file.") from None
    return None


def _parsed(declared: Setting, written: str) -> object:
    try:
        return declared.form.parse(written)
    except (ValueError, OverflowError):
        shown = "" if declared.form.secret else f"={written[:200]}"
    raise ValueError(f"{declared.name}{shown} is not accepted; write {declared.form.accepted}.")


def _shown(declared: Setting, value: object) -> str:
    if value is None or value in ((), ""):
        return _UNSET
    if declared.form.secret:
        return _MASK
    return declared.form.show(value)


def _unknown_names(layers: Sequence[Layer], known: frozenset[str]) -> Iterable[str]:
    ours = sorted(known)
    for layer in layers:
        for name in sorted(layer.values):
            if not name.startswith(PREFIX) or name in known:
                continue
            nearest = difflib.get_close_matches(name, ours, n=1, cutoff=0.7)
            hint = f" (did you mean {nearest[0]}?)" if nearest else ""
            yield f"unknown setting {name}{hint}"


__all__ = [
    "Form",
    "HostPort",
    "Layer",
    "Loaded",
    "Network",
    "Secret",
    "Setting",
    "SettingsError",
    "SettingsRecord",
    "boolean",
    "choice",
    "declared_settings",
    "duration",
    "effective_values",
    "host_port",
    "integer",
    "load",
    "names_of",
    "networks",
    "number",
    "pairs",
    "path",
    "reference_table",
    "secret",
    "secrets",
    "setting",
    "size",
    "text",
    "timestamp",
    "url",
    "version",
    "words",
]
