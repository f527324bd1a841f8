"""Asking the first question over the public API and streaming the answer, as any consumer would."""

import json
from collections.abc import Callable
from typing import Final

import httpx
import trio

from provider.cli.exits import CommandFailed

WAIT_SECONDS: Final = 90.0
POLL_SECONDS: Final = 0.05
MAX_TOKENS: Final = 200


async def wait_until_routable(client: httpx.AsyncClient, model: str, *, fix: str = "") -> None:
    """Wait until the coordinator can route to the model; raises `CommandFailed` with `fix` after 90 seconds."""
    with trio.move_on_after(WAIT_SECONDS):
        while True:
            try:
                answer = await client.get("/v1/models")
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code == 200:
                for entry in answer.json()["data"]:
                    if entry["id"] == model and entry.get("metadata", {}).get("routable_providers", 0) > 0:
                        return
            await trio.sleep(POLL_SECONDS)
    raise CommandFailed(f"No provider became ready for {model} within {WAIT_SECONDS:.0f} s.", fix=fix)


async def stream_answer(
    client: httpx.AsyncClient, model: str, prompt: str, *, show: Callable[[str], None]
) -> tuple[float, str]:
    """Ask and hand every piece of text to `show`; gives the moment of the first token (trio clock) and the text.

    Raises `CommandFailed` when the answer fails or is empty.
    """
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "stream": True,
        "max_tokens": MAX_TOKENS,
        "temperature": 0,
    }
    first: float | None = None
    text = failure = ""
    try:
        async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            if answer.status_code != 200:
                await answer.aread()
                raise CommandFailed(f"The API answered {answer.status_code}: {_message(answer)}")
            async for line in answer.aiter_lines():
                if not line.startswith("data: ") or line == "data: [DONE]":
                    continue
                event = json.loads(line[6:])
                if "error" in event:
                    # The stream ends after an error: reading on to its end leaves nothing half-read behind.
                    failure = failure or str(event["error"].get("message", "no reason given"))
                for choice in event.get("choices", ()):
                    piece = choice["delta"].get("content") or ""
                    if piece:
                        first = trio.current_time() if first is None else first
                        text += piece
                        show(piece)
    except httpx.TransportError as error:
        raise CommandFailed(f"The connection to the API broke off ({type(error).__name__}).") from None
    if failure:
        raise CommandFailed(f"The answer broke off: {failure}")
    if first is None:
        raise CommandFailed("The answer was empty.")
    return first, text


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase
