"""`darkbloom update`: look for a newer release and install it."""

import sys
from typing import TYPE_CHECKING

import click

from provider.cli.account import coordinator_option
from provider.cli.examples import examples
from provider.cli.exits import OK, CommandFailed
from provider.cli.home import open_home
from provider.cli.serving_options import drain_option
from provider.cli.session import json_option, print_json
from provider.cli.upstream import base_of

if TYPE_CHECKING:
    from provider.service.life import Home
    from provider.update import Release, Verdict
    from provider.update.place import Installation


@click.command(name="update", epilog=examples("darkbloom update --check-only", "darkbloom update"))
@click.option("--check-only", is_flag=True, help="Say what there is, and install nothing.")
@drain_option
@click.option("--force", is_flag=True, help="Install an older version too.")
@click.option("--override-quarantine", is_flag=True, help="Try a version again that was put aside.")
@coordinator_option
@json_option
def command(
    check_only: bool, timeout: int, force: bool, override_quarantine: bool, coordinator: str | None, as_json: bool
) -> int:
    """Install the newest release: download, check its hashes, put it in place, restart the provider.

    The version before stays on the disk and comes back by itself when the new one does not survive its first
    minutes. A program that came with pip is updated with pip; then the command is printed.
    """
    home = open_home({"DARKBLOOM_COORDINATOR_URL": coordinator})
    from provider.update import compare
    from provider.update.place import find_installation
    from provider.update.state import read_update_state
    from provider.version import installed_version

    version = installed_version()
    release = _latest(home)
    if release is None:
        return _tell(as_json, {"installed": version, "latest": None, "verdict": "none"}, "No release is registered.")
    state = read_update_state(home.configuration.places.update_file)
    if override_quarantine:
        state = state.forgiven(release.version)
    verdict = compare(version, release.version, state)
    facts: dict[str, object] = {"installed": version, "latest": release.version, "verdict": verdict.value}
    if check_only or not _is_wanted(verdict, force=force):
        return _tell(as_json, facts, _sentence(version, release, verdict))
    installation = find_installation()
    if installation is None:
        wheel = f"pip install --upgrade 'darkbloom[provider]=={release.version}'"
        return _tell(as_json, facts | {"command": wheel}, f"This program came with pip; run: {wheel}")
    _install(home, release, installation, timeout=timeout, forgive=override_quarantine)
    return _tell(as_json, facts | {"installed_now": True}, f"Version {release.version} is in place.")


def _latest(home: "Home") -> "Release | None":
    from provider.host import detect_host
    from provider.update import ReleaseRefused, fetch_latest
    from provider.upstream import Upstream, UpstreamUnreachable

    base = base_of(home.configuration, command="update")
    try:
        with Upstream(base) as upstream:
            return fetch_latest(upstream, detect_host().platform)
    except (UpstreamUnreachable, ReleaseRefused) as failed:
        raise CommandFailed(str(failed), fix="darkbloom doctor") from None


def _is_wanted(verdict: "Verdict", *, force: bool) -> bool:
    from provider.update import Verdict

    return verdict is Verdict.NEWER or (force and verdict is Verdict.OLDER)


def _sentence(version: str, release: "Release", verdict: "Verdict") -> str:
    from provider.update import Verdict

    match verdict:
        case Verdict.CURRENT:
            return f"{version} is the newest release."
        case Verdict.OLDER:
            return f"{version} is newer than the newest release ({release.version}); --force goes back."
        case Verdict.QUARANTINED:
            return f"{release.version} did not survive here and was put aside; --override-quarantine tries it again."
        case Verdict.NEWER:
            return f"{release.version} is out, this is {version}; `darkbloom update` installs it."


def _install(home: "Home", release: "Release", installation: "Installation", *, timeout: float, forgive: bool) -> None:
    from provider.update import ReleaseRefused
    from provider.update.install import put_in_place, stage, take_update_lock
    from provider.update.state import read_update_state, write_update_state

    places = home.configuration.places
    try:
        with take_update_lock(places.home):
            with click.progressbar(
                length=100, label=f"Fetching {release.version}", file=sys.stderr, show_eta=True
            ) as bar:
                stage(
                    release,
                    installation,
                    keys=home.configuration.settings.update_keys,
                    progress=lambda done, total: bar.update(max(0, 100 * done // max(1, total) - bar.pos)),
                )
            state = read_update_state(places.update_file)
            state = put_in_place(release, installation, state.forgiven(release.version) if forgive else state)
            write_update_state(places.update_file, state)
    except ReleaseRefused as refused:
        raise CommandFailed(str(refused)) from None
    if home.pid is not None and home.record is not None:
        from provider.cli.restart import restart

        restart(home, timeout=timeout, startup_timeout=180, force=False)
    elif home.pid is not None:
        click.echo("The running provider was started in a terminal; it takes the new version at its next start.")


def _tell(as_json: bool, facts: dict[str, object], sentence: str) -> int:
    if as_json:
        print_json(facts)
    else:
        click.echo(sentence)
    return OK
