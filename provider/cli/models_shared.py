"""What the `models` commands share: the cache, the catalogue, sizes in words, JSON on the standard output."""

import difflib
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from provider.cli.exits import CommandFailed
from provider.cli.session import configured
from provider.cli.upstream import base_of

if TYPE_CHECKING:
    from provider.catalog.client import CatalogClient
    from provider.catalog.entries import CatalogEntry, Catalogue
    from provider.config import Configuration
    from provider.models.hub import HubCache
    from provider.models.scan import LocalModel

T = TypeVar("T")

ORDER_SECONDS = 900.0
"""How long a running provider may take to load or unload a model."""


def open_cache(coordinator: str | None = None) -> "tuple[Configuration, HubCache]":
    """Read the configuration and give the model cache."""
    from provider.models.hub import HubCache

    configuration = configured({"DARKBLOOM_COORDINATOR_URL": coordinator})
    return configuration, HubCache(configuration.settings.models_directory)


def ask_catalogue(
    configuration: "Configuration",
    use: "Callable[[CatalogClient], Awaitable[T]]",
    *,
    command: str,
    limit_seconds: float = math.inf,
) -> T:
    """Run `use` with the coordinator's catalogue; what fails there, or takes too long, becomes one sentence."""
    import trio

    from provider.catalog.client import CatalogClient
    from provider.catalog.failures import CatalogFailed, DownloadFailed

    base = base_of(configuration, command=command)

    async def run() -> T:
        with trio.fail_after(limit_seconds):
            async with CatalogClient.open(base) as client:
                return await use(client)

    try:
        return trio.run(run)
    except trio.TooSlowError:
        raise CommandFailed(f"The coordinator {base} did not answer within {limit_seconds:g} s.") from None
    except (CatalogFailed, DownloadFailed) as failed:
        raise CommandFailed(str(failed)) from None


def find_entry(catalogue: "Catalogue", model_id: str) -> "CatalogEntry":
    """Find an entry of the catalogue; an unknown id is answered with its neighbours."""
    for entry in catalogue.models:
        if entry.id == model_id:
            return entry
    near = near_names(model_id, [entry.id for entry in catalogue.models])
    raise CommandFailed(f"The catalogue has no model {model_id}.{near}", fix="darkbloom models catalog")


def find_local(models: "Sequence[LocalModel]", model_id: str) -> "LocalModel":
    """Find a model on this machine; an unknown id is answered with its neighbours."""
    for model in models:
        if model.model_id == model_id:
            return model
    near = near_names(model_id, [model.model_id for model in models])
    raise CommandFailed(f"The model {model_id} is not on this machine.{near}", fix="darkbloom models list --all")


def near_names(name: str, names: Sequence[str]) -> str:
    """Give a question for the reader who mistyped, or ""."""
    ends = {known.rpartition("/")[2]: known for known in names}
    near = difflib.get_close_matches(name, names, n=2) or [
        ends[found] for found in difflib.get_close_matches(name.rpartition("/")[2], ends, n=2)
    ]
    return f" Did you mean {' or '.join(near)}?" if near else ""


def size_text(amount: float) -> str:
    """Write bytes as people read them, in decimal units as catalogues count."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if amount >= scale:
            return f"{amount / scale:.1f} {unit}"
    return f"{amount:.0f} B"


def count_text(number: int) -> str:
    """Write a number of tokens in thousands, as model cards do; a dash for unknown."""
    if number <= 0:
        return "–"
    return f"{number // 1024}k" if number >= 1024 else str(number)
