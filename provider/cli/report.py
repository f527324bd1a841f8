"""`darkbloom report`: a redacted piece of the log for the operators, shown before it is sent."""

import sys
import time

import click

from provider.cli.examples import examples
from provider.cli.exits import OK, CommandFailed
from provider.cli.logs import span_seconds
from provider.cli.session import configured
from provider.cli.upstream import base_of, token_for

PATH = "/v1/provider/log-report"
MAX_BYTES = 10 * 1000 * 1000


@click.command(name="report", epilog=examples("darkbloom report --dry-run", "darkbloom report --last 2h"))
@click.option("--last", metavar="SPAN", default="24h", show_default=True, help="What to send: 30m, 2h, 1d.")
@click.option("--dry-run", is_flag=True, help="Show what would be sent, and send nothing.")
@click.option("--yes", is_flag=True, help="Send without asking.")
@click.option("--coordinator", metavar="URL", help="Send to this coordinator instead of the configured one.")
def command(last: str, dry_run: bool, yes: bool, coordinator: str | None) -> int:
    """Show the redacted log of the last hours, ask, and send it.

    Nothing is ever sent by itself. Tokens, keys, mail addresses, foreign addresses and user names are taken out;
    prompts and answers never stand in the log.
    """
    from provider.observe.log_files import read_log
    from provider.observe.redact import redact_all

    configuration = configured({"DARKBLOOM_COORDINATOR_URL": coordinator})
    path = configuration.settings.log_file or configuration.places.log_file
    if not path.exists():
        raise CommandFailed(f"There is no log at {path}.", fix="darkbloom start")
    entries = read_log(path, lines=100_000, since=time.time() - span_seconds(last))
    if not entries:
        raise CommandFailed(f"The log {path} has nothing of the last {last}.", fix="darkbloom report --last 7d")
    text = "\n".join(redact_all(entry.raw for entry in entries)) + "\n"
    if len(text.encode()) > MAX_BYTES:
        raise CommandFailed("The log of that time is larger than 10 MB.", fix="darkbloom report --last 1h")
    if dry_run:
        click.echo(text, nl=False)
        return OK
    base = base_of(configuration, command="report")
    token = token_for(configuration, base)
    if not yes:
        _show_and_ask(text, base)
    _send(base, token, text)
    click.echo(f"Sent {len(entries)} lines to {base}.")
    return OK


def _show_and_ask(text: str, base: str) -> None:
    if not sys.stdin.isatty():
        raise CommandFailed("There is no terminal to ask on.", fix="darkbloom report --dry-run, then --yes")
    click.echo_via_pager(text)
    if not click.confirm(f"Send these {text.count(chr(10))} lines to {base}?"):
        raise CommandFailed("Nothing was sent.")


def _send(base: str, token: str, text: str) -> None:
    from provider.upstream import Upstream, UpstreamUnreachable

    try:
        with Upstream(base) as upstream:
            answer = upstream.post_text(PATH, text, token=token)
    except UpstreamUnreachable as unreachable:
        raise CommandFailed(str(unreachable), fix="darkbloom doctor") from None
    if answer.status in (404, 405, 410):
        raise CommandFailed(f"The coordinator {base} takes no reports; nothing was sent.")
    if answer.status in (401, 403):
        raise CommandFailed(
            "The login of this machine is no longer valid.", fix="darkbloom logout, then darkbloom login"
        )
    if not 200 <= answer.status < 300:
        raise CommandFailed(answer.error_text or f"The coordinator answered {answer.status}; nothing was taken.")
