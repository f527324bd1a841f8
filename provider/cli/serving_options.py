"""The options that commands about a serving machine share, and the settings that they stand for."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

model_option = click.option(
    "--model",
    "models",
    multiple=True,
    metavar="ID | DIRECTORY | ID=DIRECTORY | demo",
    help="A model to offer; repeat it for several.",
)
all_option = click.option("--all", "take_all", is_flag=True, help="Offer every model that can be served.")
coordinator_option = click.option(
    "--coordinator", "--coordinator-url", "coordinator", metavar="URL", help="For example wss://HOST/ws/provider."
)
insecure_option = click.option(
    "--insecure-link", is_flag=True, help="Permit ws:// to another machine; only for a closed test network."
)
concurrent_option = click.option(
    "--max-concurrent", type=click.IntRange(1, 24), help="Requests that one model runs together."
)
idle_option = click.option(
    "--idle-timeout",
    type=click.IntRange(0, 43200),
    metavar="MIN",
    help="Unload unused models after MIN minutes; 0: never.",
)
port_option = click.option("--port", type=click.IntRange(0, 65535), help="Port of the local server; 8000 by default.")
bind_option = click.option("--bind", metavar="ADDRESS", help="Address of the local server; 127.0.0.1 by default.")
auth_option = click.option("--no-auth", is_flag=True, help="Let the local server ask for no token.")
parent_option = click.option(
    "--stop-with-parent", is_flag=True, help="Stop in order when standard input ends.", hidden=True
)
drain_option = click.option(
    "--timeout",
    type=click.IntRange(0, 3600),
    default=600,
    show_default=True,
    help="Seconds to wait for running requests.",
)


def local_options(command: F) -> F:
    """Add the options of the local server."""
    return port_option(bind_option(auth_option(command)))


def overrides_of(
    *,
    coordinator: str | None = None,
    insecure_link: bool = False,
    max_concurrent: int | None = None,
    idle_timeout: int | None = None,
    port: int | None = None,
    bind: str | None = None,
    no_auth: bool = False,
) -> dict[str, str | None]:
    """Give the settings that options stand for; None where an option was not given."""
    return {
        "DARKBLOOM_COORDINATOR_URL": coordinator,
        "DARKBLOOM_ALLOW_INSECURE_LINK": "true" if insecure_link else None,
        "DARKBLOOM_MAX_CONCURRENT": None if max_concurrent is None else str(max_concurrent),
        "DARKBLOOM_IDLE_TIMEOUT": None if idle_timeout is None else f"{idle_timeout}m",
        "DARKBLOOM_LOCAL_PORT": None if port is None else str(port),
        "DARKBLOOM_LOCAL_BIND": bind,
        "DARKBLOOM_LOCAL_AUTH": "false" if no_auth else None,
    }
