"""One line about a newer release, on a terminal, at most once a day over the network and never for long."""

import sys
import time
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from provider.config import Configuration
    from provider.update.state import UpdateState

LIMIT_SECONDS: Final = 2.0
AGAIN_SECONDS: Final = 24 * 3600.0


def tell_newer_release(configuration: "Configuration") -> None:
    """Say on standard error that a newer release is out; silent where nobody reads it, and when nothing is known."""
    from provider.config.terminal import wants_update_check

    if configuration.settings.coordinator_url is None or not (sys.stderr.isatty() and wants_update_check()):
        return
    from provider.update.state import read_update_state
    from provider.update.verdict import Verdict, compare
    from provider.version import installed_version

    state = read_update_state(configuration.places.update_file)
    if time.time() - state.checked_at > AGAIN_SECONDS:
        state = _look(configuration, state)
    if state.latest and compare(installed_version(), state.latest, state) is Verdict.NEWER:
        click.echo(f"Version {state.latest} is out; `darkbloom update` installs it.", err=True)


def _look(configuration: "Configuration", state: "UpdateState") -> "UpdateState":
    import msgspec

    from provider.cli.account import door_base
    from provider.cli.exits import CommandFailed
    from provider.host import detect_host
    from provider.update import ReleaseRefused, fetch_latest
    from provider.update.state import write_update_state
    from provider.upstream import Upstream, UpstreamUnreachable

    latest = state.latest
    try:
        base = door_base(configuration.settings, command="update")
        with Upstream(base, timeout=LIMIT_SECONDS) as upstream:
            release = fetch_latest(upstream, detect_host().platform)
        latest = "" if release is None else release.version
    except (CommandFailed, UpstreamUnreachable, ReleaseRefused):
        pass  # the next look is tomorrow; nobody waits for it now
    looked = msgspec.structs.replace(state, latest=latest, checked_at=time.time())
    try:
        write_update_state(configuration.places.update_file, looked)
    except OSError:
        return looked
    return looked
