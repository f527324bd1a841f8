"""`darkbloom-coordinator serve | migrate | config | doctor | admin …`.

Exit codes: 0 ended in order, 1 failed run, 2 configuration, 64 usage.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from protocol import lifeline
from protocol.settings import effective_values
from server.cli.admin import admin
from server.cli.doctor import doctor
from server.cli.loading import EXIT_RUN, EXIT_USAGE, load_or_exit
from server.cli.migrate import migrate


def main() -> None:
    """Run the command line; the entry point of the distribution."""
    try:
        code = cli.main(prog_name="darkbloom-coordinator", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_RUN)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


@click.group()
@click.version_option(package_name="darkbloom")
def cli() -> None:
    """Run and inspect a Darkbloom coordinator."""


@cli.command()
@click.option("--host", help="Address to listen on, instead of DARKBLOOM_HOST.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port to listen on, instead of DARKBLOOM_PORT; 0: a free one."
)
@click.option("--ready-fd", type=click.IntRange(0), help="Write one JSON line to this descriptor when serving.")
@click.option("--ready-file", type=click.Path(path_type=Path), help="Write one JSON line to this file when serving.")
@click.option("--stop-with-parent", is_flag=True, help="Stop in order when standard input ends.")
def serve(
    host: str | None, port: int | None, ready_fd: int | None, ready_file: Path | None, stop_with_parent: bool
) -> int:
    """Serve until SIGTERM or SIGINT; then finish what runs. A second signal ends the process at once."""
    from server.cli.serve import serve_process

    loaded = load_or_exit(_overrides(host, port))
    if stop_with_parent:
        lifeline.stop_with_parent()
    return serve_process(loaded, ready_fd=ready_fd, ready_file=ready_file)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def config(as_json: bool) -> None:
    """Print every setting with its effective value and where it comes from; secrets stay hidden."""
    loaded = load_or_exit()
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    rows = effective_values(loaded)
    if as_json:
        shown = [{"name": name, "value": value, "source": source} for name, value, source in rows]
        click.echo(json.dumps(shown, ensure_ascii=False, indent=2))
        return
    width = max(len(name) for name, _, _ in rows)
    for name, value, source in rows:
        click.echo(f"{name.ljust(width)}  {value}  ({source})")


def _overrides(host: str | None, port: int | None) -> dict[str, str]:
    given = {"DARKBLOOM_HOST": host, "DARKBLOOM_PORT": None if port is None else str(port)}
    return {name: value for name, value in given.items() if value is not None}


cli.add_command(migrate)
cli.add_command(doctor)
cli.add_command(admin)
