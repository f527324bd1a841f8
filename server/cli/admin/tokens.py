"""`admin tokens …`: access tokens for installations without an identity provider."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from server.administration.minting import (
    MAX_LIFE_SECONDS,
    KeyUnusable,
    belongs_to,
    load_signing_key,
    mint,
    new_key_pair,
    subject_of,
)
from server.administration.operator import Deed
from server.cli.admin.screen import Answer, Screen, time
from server.cli.admin.session import Desk, json_option, run, seconds_of
from server.cli.loading import EXIT_RUN

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from server.store import Tx

MICROSECONDS: Final = 1_000_000
_key_file = click.option(
    "--key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The P-256 private key, in PEM.",
)


@click.group()
def tokens() -> None:
    """Sign access tokens with your own key.

    For installations without an identity provider.
    """


@tokens.command()
@_key_file
@json_option
def keygen(key_file: Path, as_json: bool) -> int:
    """Make the signing key in a new file, and show the public key for DARKBLOOM_PRIVY_VERIFICATION_KEY."""
    private, public = new_key_pair()
    try:
        descriptor = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        click.echo(f"The key file {key_file} cannot be made: {error.strerror}. Choose a new name.", err=True)
        return EXIT_RUN
    with os.fdopen(descriptor, "wb") as file:
        file.write(private)

    def show(screen: Screen) -> None:
        screen.line(f"Made the signing key {key_file}, readable by you alone. Its public key:")
        screen.line(public.rstrip())

    steps = (
        "set DARKBLOOM_PRIVY_APP_ID to a name of your own, and DARKBLOOM_PRIVY_VERIFICATION_KEY to the public key",
        f"darkbloom-coordinator admin tokens mint NAME --key-file {key_file}",
    )
    return Answer(data={"key_file": str(key_file), "public_key": public}, show=show, next_steps=steps).give(
        as_json=as_json
    )


@tokens.command("mint")
@click.argument("name")
@_key_file
@click.option("--lives", default="24h", show_default=True, help="How long it is good, such as 15m, 24h, 30d.")
@json_option
def mint_token(name: str, key_file: Path, lives: str, as_json: bool) -> int:
    """Sign a token for the account `local:NAME`, which its first use makes."""
    try:
        subject = subject_of(name)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    life_seconds = seconds_of("--lives", lives, MAX_LIFE_SECONDS)
    key = _read_key(key_file)

    async def work(desk: Desk) -> Answer:
        app_id = desk.settings.privy_app_id
        public = desk.settings.privy_verification_key
        if app_id is None or public is None:
            raise click.UsageError(
                "Set DARKBLOOM_PRIVY_APP_ID and DARKBLOOM_PRIVY_VERIFICATION_KEY as the coordinator has them."
            )
        if not belongs_to(key, public.reveal()):
            raise click.UsageError(
                f"{key_file} is not the private key of DARKBLOOM_PRIVY_VERIFICATION_KEY; its tokens would be refused."
            )
        now = desk.wall_clock() // MICROSECONDS
        expires = time((now + life_seconds) * MICROSECONDS)
        token = mint(key, app_id=app_id, subject=subject, now=now, life_seconds=life_seconds)

        async def noted(_tx: Tx, _now: int) -> Deed[None]:
            return Deed(None, subject, after={"expires_at": expires})

        await desk.operator.act(desk.actor, "token.mint", noted)

        def show(screen: Screen) -> None:
            screen.secret(token, f"It is good for {subject} until {expires}, and cannot be taken back before.")

        return Answer(data={"token": token, "subject": subject, "expires_at": expires}, show=show)

    return run(work, as_json=as_json)


def _read_key(path: Path) -> EllipticCurvePrivateKey:
    try:
        return load_signing_key(path.read_bytes())
    except OSError as error:
        raise click.UsageError(f"The key file {path} cannot be read: {error.strerror}.") from None
    except KeyUnusable as error:
        raise click.UsageError(f"{path}: {error}") from None
