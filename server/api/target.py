"""What a public model name means for a request: the builds, the output bound, and whether they can do it at all.

The checks stand in their public order; none of them looks at how busy the fleet is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from protocol.api.chat_request import DEFAULT_OUTPUT_TOKENS
from protocol.api.errors import ApiError, invalid_request, model_not_found, rate_limited

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protocol.api import ChatRequest
    from server.catalog import ModelDirectory
    from server.registry import CatalogEntry, Registry

SHED_RETRY_SECONDS: Final = 30.0

_VISION: Final = frozenset({"vision", "video"})
_FORMATS: Final = {"json_object": ("json_mode", "structured_outputs"), "json_schema": ("structured_outputs",)}


@dataclass(frozen=True, slots=True)
class Target:
    """The build to route to and the one to fall back to, with the output bound that routing and holds share."""

    build: str
    previous_build: str | None
    max_tokens: int


class ModelNames:
    """Looks public names up; `directory` knows the aliases, the registry's catalogue the builds."""

    def __init__(self, registry: Registry, directory: ModelDirectory) -> None:
        self._registry = registry
        self._directory = directory

    def builds(self, name: str) -> tuple[str, ...]:
        """The builds behind a name, the wanted one first; a name that is no alias stands for itself.

        Raises ApiError 503 for an alias none of whose builds exists.
        """
        alias = self._directory.resolve(name)
        if alias is None:
            return (name,)
        known = tuple(
            build for build in (alias.desired, alias.previous) if build and self._registry.catalog.knows(build)
        )
        if not known:
            raise ApiError(
                503,
                "model_unavailable",
                f"The model {name[:100]!r} has no build that could be served now; use another model.",
                param="model",
                retryable=False,
            )
        return known

    def check_abilities(self, chat: ChatRequest, builds: Sequence[str]) -> None:
        """Raise ApiError 400 for what none of the builds can do, as far as anybody said what they can."""
        entries = [entry for build in builds if (entry := self._registry.catalog.entry(build)) is not None]
        if chat.has_media:
            if not self._reads_media(builds, entries):
                raise invalid_request(
                    "This model reads text alone: no images, videos, audio or files; send text, or use another model.",
                    param="messages",
                )
            if chat.forces_tool:
                raise invalid_request(
                    "A forced tool and media cannot be combined; drop one of them.", param="tool_choice"
                )
        told = [entry.features for entry in entries if entry.features is not None]
        if not told or len(told) < len(builds):
            return  # of a build that nobody described everything may be hoped
        if chat.has_tools and not any("tools" in features for features in told):
            param = "tool_choice" if chat.forces_tool else "tools"
            raise invalid_request("This model cannot call tools; use another model.", param=param)
        wanted = _FORMATS.get(chat.format)
        if wanted is not None and not any(name in features for features in told for name in wanted):
            raise invalid_request(
                "This model cannot be held to a response format; ask for it in the prompt, or use another model.",
                param="response_format",
            )
        if chat.wants_logprobs and not any("logprobs" in features for features in told):
            raise invalid_request("This model gives no log probabilities; leave logprobs out.", param="logprobs")

    def target(self, chat: ChatRequest, builds: Sequence[str], *, exclusive: bool) -> Target:
        """Choose among the builds of a request that they can serve.

        `exclusive`: it may run on the caller's own machines alone, which the catalogue does not bind. Raises ApiError:
        429 for a model that is switched off, 404 for an unknown one.
        """
        served = [build for build in builds if not self._shed(build, chat.public_model)]
        if not served:
            raise rate_limited(
                "This model takes no requests for the moment; try again later.",
                retry_after_seconds=SHED_RETRY_SECONDS,
                reason="model_shed",
            )
        if not exclusive and not self._registry.catalog.knows(served[0]):
            raise model_not_found(chat.public_model)
        return Target(
            build=served[0],
            previous_build=served[1] if len(served) > 1 else None,
            # One bound for both: a request that moves to the other build must fit there too.
            max_tokens=min(self._output_bound(chat, build) for build in served),
        )

    def has_feature(self, build: str, feature: str) -> bool:
        """True if the catalogue says that a build can do something."""
        entry = self._registry.catalog.entry(build)
        return entry is not None and entry.features is not None and feature in entry.features

    def thinks_on_request(self, build: str) -> bool:
        """True for a build that thinks only when it is asked to."""
        entry = self._registry.catalog.entry(build)
        return entry is not None and entry.reasoning_opt_in

    def defaults(self, build: str) -> dict[str, object]:
        """What stands in a request to this build for members that its caller left out."""
        entry = self._registry.catalog.entry(build)
        return dict(entry.defaults) if entry is not None else {}

    def _reads_media(self, builds: Sequence[str], entries: Sequence[CatalogEntry]) -> bool:
        """What the catalogue says counts; for builds of which it says nothing, the machines that offer them do."""
        told = {entry.id: _VISION & frozenset(entry.features) for entry in entries if entry.features is not None}
        if any(told.values()):
            return True
        silent = [build for build in builds if build not in told]
        pools = [pool for build in silent if (pool := self._registry.pool(build)) is not None and pool.offers()]
        return bool(silent) and (not pools or any(pool.offers(vision=True) for pool in pools))

    def _shed(self, build: str, name: str) -> bool:
        return bool(self._registry.policy.reject_models & {build, name})

    def _output_bound(self, chat: ChatRequest, build: str) -> int:
        """The caller's bound within the model's; the default one leaves the prompt its room in a known context."""
        catalog = self._registry.catalog
        entry = catalog.entry(build)
        bound = chat.output_bound(entry.max_output if entry is not None else None)
        window = catalog.context_window(build)
        if chat.requested_max is not None or window <= 0:
            return bound
        return max(1, min(bound, DEFAULT_OUTPUT_TOKENS, window - chat.prompt_tokens_estimate))
