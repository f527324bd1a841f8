"""What the rest of the provider needs from an engine; `EngineFront` has it, and so has the scripted engine of tests."""

from typing import Protocol

from provider.engine.generation import Generation
from provider.engine.model import LoadedModel
from provider.engine.request import GenerationRequest
from provider.engine.snapshot import EngineSnapshot
from provider.engine.watchdog import Health


class Engine(Protocol):
    """Takes requests for attached models and reports what it does. All methods belong to the trio thread."""

    def submit(self, request: GenerationRequest) -> Generation:
        """Queue a request at once; refusals come as the generation's terminal event."""

    async def attach_model(self, model: LoadedModel) -> None:
        """Begin to serve a model; returns when requests for it are taken."""

    async def detach_model(self, model_id: str) -> None:
        """Refuse new requests for a model, wait for its rows to end, and let go of it; unknown ids are ignored."""

    def set_admission(self, *, is_open: bool) -> None:
        """Open or close the engine for new requests."""

    def trim_prefixes(self, keep: float) -> None:
        """Forget stored prefixes until at most the share `keep` (0 to 1) of their bytes is left."""

    def limit_rows(self, part: float) -> None:
        """Let only this part (0 to 1) of the usual rows run together, at least one; running rows go on."""

    def snapshot(self) -> EngineSnapshot:
        """Return the newest consistent view."""

    @property
    def health(self) -> Health:
        """Verdict on the engine thread."""

    async def wait_change(self, seen: int) -> EngineSnapshot:
        """Wait until the snapshot's `change` number differs from `seen`, and return it."""
