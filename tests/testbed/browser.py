"""A real Chromium without a window, driven by its debugging protocol: what a page asks for, says and looks like."""

from __future__ import annotations

import json
import os
import shutil
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from tests.testbed.needs import absent

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
START_SECONDS = 60.0
PAGE_SECONDS = 60.0
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
)


class Page:
    """One page. `requested` are the URLs that it asked for, `complaints` what the browser logged about it."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self._socket = socket
        self._number = 0
        self.requested: list[str] = []
        self.complaints: list[str] = []
        self._loaded = False

    async def command(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one command and give its result; what the page says meanwhile is noted."""
        self._number += 1
        number = self._number
        await self._socket.send_message(json.dumps({"id": number, "method": method, "params": params}))
        with trio.fail_after(PAGE_SECONDS):
            while True:
                message = await self._next()
                if message.get("id") == number:
                    assert "error" not in message, message
                    result: dict[str, Any] = message["result"]
                    return result

    async def open(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a page and wait until it is there."""
        for domain in ("Page", "Network", "Log", "Runtime"):
            await self.command(f"{domain}.enable")
        await self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.command("Emulation.setEmulatedMedia", features=scheme)
        self._loaded = False
        await self.command("Page.navigate", url=url)
        with trio.fail_after(PAGE_SECONDS):
            while not self._loaded:
                await self._next()

    async def evaluate(self, expression: str) -> Any:
        """Give the value of a JavaScript expression in the page, as the browser's tools see it."""
        found = await self.command("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def screenshot(self, file: Path) -> None:
        """Keep what is visible as a PNG."""
        shot = await self.command("Page.captureScreenshot", format="png")
        file.write_bytes(b64decode(shot["data"]))

    async def _next(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await self._socket.get_message())
        params = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requested.append(params["request"]["url"])
            case "Log.entryAdded":
                self.complaints.append(params["entry"]["text"])
            case "Runtime.exceptionThrown" | "Runtime.consoleAPICalled":
                self.complaints.append(json.dumps(params))
            case "Page.loadEventFired":
                self._loaded = True
        return message


@asynccontextmanager
async def open_browser(folder: Path) -> AsyncIterator[Page]:
    """Start Chromium with a profile of its own and yield its page; skips the test where there is none."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        absent("Chromium is needed for this test; install the package chromium, or Google Chrome on macOS.")
    profile = folder / "profile"
    command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    with (folder / "chromium.log").open("wb") as log:
        async with trio.open_nursery() as nursery:
            process = await nursery.start(
                lambda task_status: trio.run_process(
                    command, env=environment, stdout=log, stderr=log, check=False, task_status=task_status
                )
            )
            try:
                async with open_websocket_url(await _page_url(profile), max_message_size=MAX_MESSAGE_BYTES) as socket:
                    yield Page(socket)
            finally:
                process.terminate()


async def _page_url(profile: Path) -> str:
    """The debugging address of the one page, once the browser has written its port down."""
    file = profile / "DevToolsActivePort"
    with trio.fail_after(START_SECONDS):
        while not (file.exists() and len(file.read_text().splitlines()) == 2):
            await trio.sleep(0.05)
        port = int(file.read_text().splitlines()[0])
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(b"GET /json/list HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % port)
            data = b""
            while part := await stream.receive_some(65536):
                data += part
                head, _, body = data.partition(b"\r\n\r\n")
                length = next(
                    (
                        int(line.split(b":")[1])
                        for line in head.split(b"\r\n")
                        if line.lower().startswith(b"content-le")
                    ),
                    None,
                )
                if length is not None and len(body) >= length:
                    break
    pages = [one for one in json.loads(data.partition(b"\r\n\r\n")[2]) if one["type"] == "page"]
    address: str = pages[0]["webSocketDebuggerUrl"]
    return address
