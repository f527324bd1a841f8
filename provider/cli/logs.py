"""`darkbloom logs`: what the background service wrote."""

import re
import sys
import time
from collections.abc import Iterator
from typing import Final

import click

from provider.cli.examples import examples
from provider.cli.exits import OK, USAGE, CommandFailed
from provider.cli.session import configured

_SPAN: Final = re.compile(r"(\d+)([smhd])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
POLL_SECONDS: Final = 0.25


@click.command(
    name="logs", epilog=examples("darkbloom logs", "darkbloom logs -f", "darkbloom logs --last 1h --lines 500")
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on; Ctrl-C ends.")
@click.option("--last", metavar="SPAN", help="Only lines of the last 30s, 10m, 1h or 2d.")
@click.option("--lines", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many lines.")
@click.option("--file", "show_file", is_flag=True, help="Print the log's path and nothing else.")
@click.option("--debug", is_flag=True, help="Show debug lines too, as far as they were written.")
@click.option("--json", "as_json", is_flag=True, help="Print the lines as they are in the file, one JSON object each.")
def command(follow: bool, last: str | None, lines: int, show_file: bool, debug: bool, as_json: bool) -> int:
    """Show the end of the provider's log; prompts and answers never stand in it."""
    configuration = configured(quiet=True)
    path = configuration.settings.log_file or configuration.places.log_file
    if show_file:
        click.echo(str(path))
        return OK
    from provider.observe.log_files import LogLine, follow_log, read_log

    since = None if last is None else time.time() - span_seconds(last)
    printed = read_log(path, lines=lines, since=since, least="debug" if debug else "info")
    output = configuration.places.output_file
    if not printed and not path.exists():
        if not output.exists():
            raise CommandFailed(f"There is no log at {path}.", fix="darkbloom start")
        click.echo(output.read_text(errors="replace"), nl=False)
        return OK

    def show(entries: Iterator[LogLine]) -> None:
        for entry in entries:
            click.echo(entry.raw if as_json else entry.text())
            sys.stdout.flush()

    show(iter(printed))
    if follow:
        try:
            show(follow_log(path, least="debug" if debug else "info", poll=POLL_SECONDS))
        except KeyboardInterrupt:
            return OK
    return OK


def span_seconds(span: str) -> float:
    """Read `30s`, `10m`, `1h` or `2d`; raises `CommandFailed`."""
    found = _SPAN.fullmatch(span)
    if found is None:
        raise CommandFailed(f"{span!r} is no span of time.", fix="darkbloom logs --last 1h", code=USAGE)
    return int(found[1]) * _SECONDS[found[2]]
