"""Sending queued events in batches, as long as the coordinator wants them. Owner: the daemon's nursery."""

import logging
from typing import Final

import httpx
import msgspec
import trio

from provider.observe.telemetry import Event, TelemetryQueue

log = logging.getLogger(__name__)

PATH: Final = "/v1/telemetry/events"
BATCH: Final = 50
BATCH_SECONDS: Final = 5.0
MAX_BATCH_BYTES: Final = 64 * 1024
LAST_PAUSE_SECONDS: Final = 300.0
TIMEOUT_SECONDS: Final = 20.0


async def send_events(queue: TelemetryQueue, base_url: str, client: httpx.AsyncClient) -> None:
    """Send until cancelled, or until the coordinator says that it takes no events; failures wait and try again."""
    pause = BATCH_SECONDS
    while True:
        await trio.sleep(pause)
        pause = BATCH_SECONDS
        while events := queue.take(BATCH):
            status = await _post(client, base_url, events)
            if status == 410:
                log.info("the coordinator takes no telemetry; none is sent")
                return
            if status in (0, 429) or status >= 500:
                queue.put_back(events)
                pause = min(LAST_PAUSE_SECONDS, max(pause, BATCH_SECONDS) * 4)
                break


async def _post(client: httpx.AsyncClient, base_url: str, events: list[Event]) -> int:
    """Send one batch and give the answer's status; 0 when none came. What is too large is sent in halves."""
    body = b'{"events":' + msgspec.json.encode(events) + b"}"
    if len(body) > MAX_BATCH_BYTES and len(events) > 1:
        half = len(events) // 2
        first = await _post(client, base_url, events[:half])
        return first if first >= 400 or first == 0 else await _post(client, base_url, events[half:])
    try:
        with trio.fail_after(TIMEOUT_SECONDS):
            answer = await client.post(base_url + PATH, content=body, headers={"Content-Type": "application/json"})
    except (httpx.HTTPError, trio.TooSlowError):
        return 0
    return answer.status_code
