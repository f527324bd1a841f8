"""`darkbloom config`: the file, its values, and where each came from."""

import difflib
from typing import TYPE_CHECKING

import click

from provider.cli.examples import examples
from provider.cli.exits import OK, USAGE, CommandFailed
from provider.cli.session import configured, json_option, print_json

if TYPE_CHECKING:
    from provider.config import Configuration
    from provider.config.file_keys import FileKey


@click.group(
    name="config",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "darkbloom config show",
        "darkbloom config set backend.max_concurrent 4",
        "darkbloom config set schedule weekdays 20:00-07:00 weekend 09:00-18:00",
    ),
)
def command() -> None:
    """Read and change the configuration; a running provider takes it over at its next start."""


@command.command(name="path", epilog=examples("darkbloom config path"))
def path() -> int:
    """Print where the configuration file is, whether it exists or not."""
    from provider.cli.session import session
    from provider.config import config_path

    click.echo(str(session().config or config_path()))
    return OK


@command.command(name="show", epilog=examples("darkbloom config show --json"))
@json_option
def show(as_json: bool) -> int:
    """Print every setting with its value and its source."""
    from protocol.settings import effective_values

    configuration = configured(quiet=as_json)
    rows = effective_values(configuration.loaded)
    if as_json:
        print_json({name: {"value": value, "source": source} for name, value, source in rows})
        return OK
    width = max(len(name) for name, _value, _source in rows)
    for name, value, source in rows:
        click.echo(f"{name:<{width}}  {value}  ({source})")
    return OK


@command.command(
    name="get", epilog=examples("darkbloom config get backend.max_concurrent", "darkbloom config get schedule")
)
@click.argument("key")
@json_option
def get(key: str, as_json: bool) -> int:
    """Print the value of one key of the file, as it counts now."""
    from protocol.settings import PREFIX, effective_values

    configuration = configured(quiet=as_json)
    name = PREFIX + ("SCHEDULE" if key == "schedule" else _known(key).setting)
    value, source = next(
        (value, source) for found, value, source in effective_values(configuration.loaded) if found == name
    )
    if as_json:
        print_json({"key": key, "value": value, "source": source})
    else:
        click.echo(value)
    return OK


@command.command(
    name="set",
    epilog=examples(
        "darkbloom config set backend.idle_timeout_mins 30",
        'darkbloom config set backend.enabled_models "mlx-community/Qwen3-8B-4bit"',
        "darkbloom config set schedule always",
    ),
)
@click.argument("key")
@click.argument("values", nargs=-1, required=True)
def set_(key: str, values: tuple[str, ...]) -> int:
    """Write one key of the file; comments and everything else in it stay.

    KEY `schedule` takes `always`, or pairs of days and times.
    """
    configuration = configured()
    if key == "schedule":
        return _set_schedule(configuration, values)
    known = _known(key)
    if len(values) != 1 and not known.kind.takes_many:
        raise CommandFailed(f"{key} takes one value.", fix=f"darkbloom config set {key} VALUE", code=USAGE)
    written = _converted(known, values)
    _write(configuration, {key: written})
    click.echo(f"{key} = {_as_toml(written)}")
    return OK


def _set_schedule(configuration: "Configuration", values: tuple[str, ...]) -> int:
    from provider.schedule.windows import DAYS, parse_window, show_schedule

    if values == ("always",):
        _write(configuration, {"schedule.enabled": False, "schedule.windows": None})
        click.echo("The machine serves always.")
        return OK
    if values[0] == "idle-timeout-minutes" and len(values) == 2:
        minutes = _converted(_known("backend.idle_timeout_mins"), values[1:])
        _write(configuration, {"backend.idle_timeout_mins": minutes})
        click.echo(f"Unused models are unloaded after {minutes} minutes.")
        return OK
    if len(values) % 2:
        raise CommandFailed(
            "The schedule takes pairs of days and times.",
            fix="darkbloom config set schedule weekdays 20:00-07:00",
            code=USAGE,
        )
    try:
        windows = tuple(parse_window(f"{days} {times}") for days, times in zip(values[::2], values[1::2], strict=True))
    except ValueError as error:
        raise CommandFailed(str(error), fix="darkbloom config set schedule weekdays 20:00-07:00", code=USAGE) from None
    tables = [
        {
            "days": [DAYS[day] for day in sorted(window.days)],
            "start": f"{window.start // 60:02d}:{window.start % 60:02d}",
            "end": f"{window.end // 60:02d}:{window.end % 60:02d}",
        }
        for window in windows
    ]
    _write(configuration, {"schedule.enabled": True, "schedule.windows": tables})
    click.echo(f"The machine serves {show_schedule(windows)}.")
    return OK


def _known(key: str) -> "FileKey":
    from provider.config.file_keys import ALL_NAMES, FILE_KEYS

    found = FILE_KEYS.get(key)
    if found is not None:
        return found
    near = difflib.get_close_matches(key, ALL_NAMES, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise CommandFailed(f"There is no key {key!r}.{hint}", fix="darkbloom config show", code=USAGE)


def _converted(key: "FileKey", values: tuple[str, ...]) -> object:
    """Read what was typed as the TOML value that the key takes, and check it; raises `CommandFailed`."""
    from protocol.settings import PREFIX
    from provider.config.load import setting_forms

    value = key.kind.typed(values)
    try:
        setting_forms()[PREFIX + key.setting].parse(key.kind.text(value))
    except ValueError:
        raise CommandFailed(
            f"{key.name} must be {key.accepted}, not {' '.join(values)!r}.",
            fix=f"darkbloom config get {key.name}",
            code=USAGE,
        ) from None
    return value


def _as_toml(value: object) -> str:
    """Write a value as it stands in the file, on one line."""
    import tomlkit

    if isinstance(value, dict):
        table = tomlkit.inline_table()
        table.update(value)
        return table.as_string()
    return tomlkit.item(value).as_string()


def _write(configuration: "Configuration", values: dict[str, object | None]) -> None:
    from provider.config.edit import EditRefused, change_config

    try:
        change_config(configuration.file.path, values)
    except EditRefused as refused:
        raise CommandFailed(str(refused)) from None
