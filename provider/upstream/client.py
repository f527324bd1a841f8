"""One blocking HTTP client: short deadlines, bounded answers, no redirects, no proxy from the environment."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self, cast

import httpx
import msgspec

TIMEOUT_SECONDS: Final = 15.0
MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
MAX_TEXT_CHARACTERS: Final = 300


class UpstreamUnreachable(Exception):
    """No answer came; the text names the host and the kind of failure."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """`content` is the decoded JSON object, or empty; `date` is the server's clock in its own words."""

    status: int
    content: Mapping[str, object] = field(repr=False)
    date: str = ""

    @property
    def error_text(self) -> str:
        """The server's sentence, made fit for a terminal; "" without one."""
        error = self.content.get("error")
        message = error.get("message") if isinstance(error, dict) else error
        text = message if isinstance(message, str) else ""
        return "".join(character for character in text[:MAX_TEXT_CHARACTERS] if character.isprintable()).strip()

    @property
    def error_code(self) -> str:
        """The server's stable word for the failure; "" without one."""
        error = self.content.get("error")
        code = error.get("code") or error.get("type") if isinstance(error, dict) else None
        return code if isinstance(code, str) else ""


class Upstream:
    """One coordinator; a context manager. `base` is its HTTP address without a slash at the end."""

    def __init__(self, base: str, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self.base: Final = base
        verify = ssl.create_default_context() if base.startswith("https:") else False
        self._http = httpx.Client(
            headers={"User-Agent": "darkbloom", "Accept-Encoding": "identity"},
            timeout=timeout,
            trust_env=False,
            verify=verify,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, *, token: str = "", query: Mapping[str, str] | None = None) -> HttpAnswer:
        """Ask; raises `UpstreamUnreachable`."""
        return self._ask("GET", path, token=token, query=query)

    def post(self, path: str, body: Mapping[str, object], *, token: str = "") -> HttpAnswer:
        """Send a JSON object; raises `UpstreamUnreachable`."""
        return self._ask("POST", path, token=token, body=body)

    def post_text(self, path: str, text: str, *, token: str) -> HttpAnswer:
        """Send plain text; raises `UpstreamUnreachable`."""
        return self._ask("POST", path, token=token, text=text)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        token: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
        text: str | None = None,
    ) -> HttpAnswer:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if text is not None:
            headers["Content-Type"] = "text/plain; charset=utf-8"
        content = bytearray()
        try:
            with self._http.stream(
                method,
                self.base + path,
                params=query or None,
                json=body,
                content=None if text is None else text.encode(),
                headers=headers,
            ) as answer:
                for piece in answer.iter_bytes():
                    content += piece
                    if len(content) > MAX_ANSWER_BYTES:
                        raise UpstreamUnreachable(f"The answer of {self.base} is too long; is it a coordinator?")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UpstreamUnreachable(
                f"The coordinator {self.base} cannot be reached ({type(error).__name__})."
            ) from None
        return HttpAnswer(answer.status_code, _decoded(bytes(content)), answer.headers.get("date", ""))


def _decoded(content: bytes) -> Mapping[str, object]:
    try:
        found = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return cast(Mapping[str, object], found) if isinstance(found, dict) else {}
