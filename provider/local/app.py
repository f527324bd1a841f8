"""The routes of the local server."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import msgspec

from protocol.api.anthropic import anthropic_envelope
from protocol.api.errors import ApiError, internal_error, invalid_request, openai_envelope, payload_too_large
from protocol.api.models import ModelDescription, anthropic_entry, anthropic_list, model_entry, model_list
from provider.local.asker import LocalAsker
from provider.local.dialects import READERS
from provider.local.guard import check_request
from provider.local.http_server import BodyTooLarge, Headers, Request, Streamed, Whole
from provider.local.inference import JSON, answer_inference
from provider.local.ollama_endpoints import Keeper, answer_ollama
from provider.local.options import MAX_BODY_BYTES, LocalOptions
from provider.local.tokens import TokenTools

ANYWHERE: Final = ("Access-Control-Allow-Origin", "*")
PREFLIGHT: Final = (
    ("Access-Control-Allow-Methods", "GET, POST, OPTIONS"),
    ("Access-Control-Allow-Headers", "*"),
    ("Access-Control-Max-Age", "600"),
)
METRICS_TYPE: Final = (("Content-Type", "text/plain; version=0.0.4; charset=utf-8"),)

Endpoint = Callable[[Request], Awaitable[Whole | Streamed]]


class Shelf(Keeper, Protocol):
    """What the server knows about the models of this machine."""

    def model_ids(self) -> tuple[str, ...]:
        """All offered models."""

    def describe(self, model_id: str) -> ModelDescription:
        """One of them, for lists."""

    def size_bytes(self, model_id: str) -> int:
        """Bytes of its weights on disk."""

    @property
    def is_healthy(self) -> bool:
        """Whether the engine makes progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalServices:
    """What the routes use."""

    options: LocalOptions
    asker: LocalAsker
    shelf: Shelf
    tokens: TokenTools
    metrics: Callable[[], bytes]
    version: str


class LocalApp:
    """`handle` answers one request; it raises nothing but cancellation."""

    def __init__(self, services: LocalServices) -> None:
        self._services = services
        self._gets: dict[str, Endpoint] = {
            "/": self._health,
            "/health": self._health,
            "/v1/health": self._health,
            "/v1/models": self._models,
            "/metrics": self._metrics,
            "/api/tags": self._tags,
            "/api/version": self._version,
        }
        self._posts: dict[str, Endpoint] = {
            **{path: partial(self._infer, path) for path in READERS},
            "/v1/embeddings": self._no_embeddings,
            "/tokenize": lambda request: services.tokens.tokenize(request.body, self.check_model),
            "/detokenize": lambda request: services.tokens.detokenize(request.body, self.check_model),
            "/apply-template": lambda request: services.tokens.apply_template(request.body, self.check_model),
            "/api/chat": partial(self._ollama, "chat"),
            "/api/generate": partial(self._ollama, "generate"),
        }

    async def handle(self, request: Request) -> Whole | Streamed:
        """Answer."""
        if request.method == "OPTIONS":
            return Whole(204, b"", self._cors() + PREFLIGHT)
        try:
            answer = await self._endpoint(request)(request)
        except ApiError as error:
            return self._refused(request.path, error)
        return _with_headers(answer, self._cors())

    def admit(self, request: Request) -> Whole | None:
        """Refuse, before a byte of its body is read, who may not ask."""
        if request.method == "OPTIONS":
            return None
        try:
            check_request(request, self._services.options)
        except ApiError as error:
            return self._refused(request.path, error)
        return None

    def fault(self, path: str, error: Exception) -> Whole:
        """The answer to a body that is too large, or to a crash of ours."""
        too_large = isinstance(error, BodyTooLarge)
        return self._refused(path, payload_too_large(MAX_BODY_BYTES) if too_large else internal_error())

    def check_model(self, model: str) -> None:
        """Raise `ApiError` 404, with the models that there are, for any other."""
        known = self._services.shelf.model_ids()
        if model not in known:
            shown = model if len(model) <= 100 else model[:100] + "…"
            raise ApiError(
                404,
                "model_not_found",
                f"The model {shown!r} is not offered here; there is: {', '.join(known) or 'none'}.",
                param="model",
            )

    def _endpoint(self, request: Request) -> Endpoint:
        path, method = request.path, request.method
        if method in ("GET", "HEAD"):
            if path.startswith("/v1/models/"):
                return self._model
            if path in self._gets:
                return self._gets[path]
        elif method == "POST" and path in self._posts:
            return self._posts[path]
        if path in self._gets or path in self._posts:
            allowed = "GET" if path in self._gets else "POST"
            raise ApiError(405, "invalid_request_error", f"{path} takes {allowed} only.", allow=(allowed,))
        raise invalid_request(f"There is nothing at {path[:200]}.", code="not_found", status=404)

    async def _health(self, _request: Request) -> Whole:
        services = self._services
        content = {
            "status": "ok" if services.shelf.is_healthy else "unhealthy",
            "models": list(services.shelf.model_ids()),
            "version": services.version,
        }
        return _json(content, status=200 if services.shelf.is_healthy else 503)

    async def _models(self, request: Request) -> Whole:
        shelf = self._services.shelf
        found = [shelf.describe(model_id) for model_id in shelf.model_ids()]
        return _json(anthropic_list(found) if "anthropic-version" in request.headers else model_list(found))

    async def _model(self, request: Request) -> Whole:
        model = request.path.removeprefix("/v1/models/")
        self.check_model(model)
        found = self._services.shelf.describe(model)
        return _json(anthropic_entry(found) if "anthropic-version" in request.headers else model_entry(found))

    async def _metrics(self, _request: Request) -> Whole:
        return Whole(200, self._services.metrics(), METRICS_TYPE)

    async def _infer(self, path: str, request: Request) -> Whole | Streamed:
        return await answer_inference(self._services.asker, READERS[path], request.body, check_model=self.check_model)

    async def _no_embeddings(self, _request: Request) -> Whole:
        raise ApiError(501, "embeddings_not_configured", "Embeddings are not offered by this version.")

    async def _ollama(self, kind: str, request: Request) -> Whole | Streamed:
        return await answer_ollama(
            self._services.asker,
            "chat" if kind == "chat" else "generate",
            request.body,
            check_model=self.check_model,
            shelf=self._services.shelf,
        )

    async def _tags(self, _request: Request) -> Whole:
        shelf = self._services.shelf
        models = []
        for model_id in shelf.model_ids():
            found = shelf.describe(model_id)
            details = {
                "format": "mlx",
                "family": found.model_type or "",
                "quantization_level": found.quantization or "",
            }
            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.created))
            models.append(
                {
                    "name": model_id,
                    "model": model_id,
                    "modified_at": moment,
                    "size": shelf.size_bytes(model_id),
                    "digest": "",
                    "details": details,
                }
            )
        return _json({"models": models})

    async def _version(self, _request: Request) -> Whole:
        return _json({"version": self._services.version})

    def _refused(self, path: str, error: ApiError) -> Whole:
        envelope: dict[str, object]
        if path.startswith("/v1/messages"):
            envelope = anthropic_envelope(error, None)
        elif path.startswith("/api/"):
            envelope = {"error": error.message}
        else:
            envelope = openai_envelope(error)
        cors = (ANYWHERE,) if error.status == 401 else self._cors()
        return Whole(error.status, msgspec.json.encode(envelope), (*JSON, *error.headers(), *cors))

    def _cors(self) -> tuple[tuple[str, str], ...]:
        """Pages of any origin may read answers that only the token's holder gets; without a token, none may."""
        return () if self._services.options.token is None else (ANYWHERE,)


def _json(content: Mapping[str, object], *, status: int = 200) -> Whole:
    return Whole(status, msgspec.json.encode(content), JSON)


def _with_headers(answer: Whole | Streamed, headers: Headers) -> Whole | Streamed:
    if not headers:
        return answer
    if isinstance(answer, Whole):
        return Whole(answer.status, answer.body, (*answer.headers, *headers))
    return Streamed(answer.produce, (*answer.headers, *headers), answer.status)
