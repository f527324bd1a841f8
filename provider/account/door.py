"""The coordinator's endpoints for machines that log in and out, over HTTP; foreign exceptions and texts end here."""

import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar, cast

import httpx
import msgspec
import trio

from provider.link.address import DEFAULT_PATH, LinkAddress

TIMEOUT_SECONDS: Final = 20.0
MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_TEXT_CHARACTERS: Final = 300
MAX_RETRY_AFTER_SECONDS: Final = 60.0


def door_address(address: LinkAddress) -> str:
    """Give the base of the HTTP endpoints that belong to a link address, without a slash at its end."""
    prefix = address.path.removesuffix(DEFAULT_PATH) if address.path.endswith(DEFAULT_PATH) else ""
    return f"{'https' if address.is_secure else 'http'}://{address.host_header}{prefix}"


class DoorFailed(Exception):
    """No answer came that can be read; the text names the coordinator and the kind of failure."""


class CodeAnswer(msgspec.Struct, frozen=True):
    """What a machine gets at the start; times in seconds."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str = ""
    expires_in: int = 900
    interval: int = 5


class PollAnswer(msgspec.Struct, frozen=True):
    """What a waiting machine gets."""

    status: str = ""
    token: str = ""
    account_id: str = ""


Answer = TypeVar("Answer", CodeAnswer, PollAnswer)


class _Error(msgspec.Struct, frozen=True):
    message: str = ""
    type: str = ""
    code: str | None = None


class _Envelope(msgspec.Struct, frozen=True):
    error: _Error


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is no success; `text` is the coordinator's sentence, made fit for a terminal."""

    status: int
    code: str
    text: str
    retry_after_seconds: float = 0.0

    @property
    def may_pass(self) -> bool:
        """Whether the same question can be answered otherwise a little later."""
        return self.status == 429 or self.status >= 500


class CoordinatorDoor:
    """Asks one coordinator. All methods raise `DoorFailed`; none follows a redirect or shows a token in an error."""

    def __init__(self, client: httpx.AsyncClient, base: str) -> None:
        self.base: Final = base
        self._client = client

    @classmethod
    @asynccontextmanager
    async def open(cls, base: str) -> AsyncIterator["CoordinatorDoor"]:
        """Keep a connection for the length of the block; the system's certificates are trusted, as the link does."""
        verify = ssl.create_default_context() if base.startswith("https:") else False
        headers = {"Accept-Encoding": "identity", "User-Agent": "darkbloom"}
        async with httpx.AsyncClient(headers=headers, timeout=TIMEOUT_SECONDS, trust_env=False, verify=verify) as http:
            yield cls(http, base)

    async def request_code(self, *, client_label: str, chip: str) -> CodeAnswer | Refusal:
        """Start a log-in; label and chip are shown to the person who approves it."""
        found = await self._ask("POST", "/v1/device/code", {"client_label": client_label, "chip": chip})
        return found if isinstance(found, Refusal) else self._decoded(found, CodeAnswer)

    async def poll(self, device_code: str) -> PollAnswer | Refusal:
        """Ask whether the person has decided; an approved machine gets its token here, once."""
        found = await self._ask("POST", "/v1/device/token", {"device_code": device_code})
        return found if isinstance(found, Refusal) else self._decoded(found, PollAnswer)

    async def revoke(self, token: str) -> Refusal | None:
        """Revoke a token; None when it is not valid any more."""
        found = await self._ask("DELETE", "/v1/device/token", token=token)
        return found if isinstance(found, Refusal) else None

    async def _ask(
        self, method: str, path: str, body: dict[str, str] | None = None, *, token: str = ""
    ) -> bytes | Refusal:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        content = bytearray()
        try:
            with trio.fail_after(TIMEOUT_SECONDS):
                async with (
                    self._client.stream(method, self.base + path, json=body, headers=headers) as answer,
                    aclosing(cast("AsyncGenerator[bytes]", answer.aiter_bytes())) as pieces,
                ):
                    async for piece in pieces:
                        content += piece
                        if len(content) > MAX_ANSWER_BYTES:
                            raise DoorFailed(f"The answer of {self.base} is too long; is it a coordinator?")
        except trio.TooSlowError:
            raise DoorFailed(f"The coordinator {self.base} did not answer within {TIMEOUT_SECONDS:.0f} s.") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DoorFailed(f"The coordinator {self.base} cannot be reached ({type(error).__name__}).") from None
        # Anything else, a portal's friendly 200 to a DELETE too, has not done what was asked.
        if answer.status_code == (204 if method == "DELETE" else 200):
            return bytes(content)
        return _refusal(answer, bytes(content))

    def _decoded(self, content: bytes, kind: type[Answer]) -> Answer:
        try:
            return msgspec.json.decode(content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise DoorFailed(f"The answer of {self.base} cannot be read; is it a coordinator?") from None


def _refusal(answer: httpx.Response, content: bytes) -> Refusal:
    try:
        error = msgspec.json.decode(content, type=_Envelope).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        error = _Error()
    text = fit_for_terminal(error.message) or f"The coordinator answered {answer.status_code}."
    return Refusal(answer.status_code, error.code or error.type, text, _retry_after(answer.headers))


def _retry_after(headers: httpx.Headers) -> float:
    value = headers.get("retry-after", "")
    return min(float(value), MAX_RETRY_AFTER_SECONDS) if value.isascii() and value.isdigit() else 0.0


def fit_for_terminal(text: str) -> str:
    """Drop what could move a cursor or hide text, and cut to 300 characters."""
    return "".join(character for character in text[:MAX_TEXT_CHARACTERS] if character.isprintable()).strip()
