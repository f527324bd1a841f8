"""The course of `darkbloom dev`: start, first answer, stay up, end cleanly."""

import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import trio

import native
from provider.cli.exits import OK, CommandFailed
from provider.demo import DEMO_MODEL_ID, demo_model_path
from provider.dev.children import child, choose_port, said_ready
from provider.dev.first_answer import WAIT_SECONDS, stream_answer, wait_until_routable
from provider.dev.home import DevHome
from provider.dev.screen import Screen

DEFAULT_PROMPT: Final = "What is Darkbloom?"
COORDINATOR_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DevOptions:
    """What the command line said; None means the default."""

    once: bool
    port: int | None
    data_dir: Path | None
    prompt: str


async def run_dev(options: DevOptions) -> int:
    """Run the whole network until Ctrl-C or SIGTERM, or until the first answer with `once`; gives the exit code.

    Raises `CommandFailed` when another run holds the data directory, a part does not start or ends too early, the first
    answer fails, or with `once` when a signal comes before the answer.
    """
    started = trio.current_time()
    screen = Screen()
    home = DevHome.open(options.data_dir)
    if not (demo_model_path() / "model.safetensors").is_file():
        raise CommandFailed(f"The demo model is missing from {demo_model_path()}.", fix="python -m provider.demo.train")
    if native.IMPLEMENTATION != "c":
        screen.note(f"the hot path runs on its pure-Python twin, slower with equal results: {native.WHY}")
    is_complete = False
    with home.lock():
        async with trio.open_nursery() as nursery:
            await nursery.start(_stop_on_signal, nursery.cancel_scope)
            await _course(options, home, screen, started)
            is_complete = True
            nursery.cancel_scope.cancel()
    if options.once and not is_complete:
        raise CommandFailed("Stopped by a signal before the answer was complete.")
    return OK


async def _stop_on_signal(
    scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _number in signals:
            break
    # From here on a second Ctrl-C kills at once; the children notice that their parent is gone.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    scope.cancel()


async def _course(options: DevOptions, home: DevHome, screen: Screen, started: float) -> None:
    key = home.api_key()
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        port = choose_port(options.port)
        base_url = f"http://127.0.0.1:{port}"
        # Loading the model takes longest, so the provider starts at once; it connects when it is ready to serve.
        await _start_provider(home, port, stack, nursery)
        with screen.step("starting the coordinator", "coordinator is up"):
            await _start_coordinator(port, home, key, stack, nursery)
        with screen.step("starting the provider and loading the demo model", "provider is connected and trusted"):
            client = await stack.enter_async_context(_client(base_url, key))
            await wait_until_routable(client, DEMO_MODEL_ID, fix=f"see {home.log('provider')}")
        screen.ask(options.prompt)
        first, _text = await stream_answer(client, DEMO_MODEL_ID, options.prompt, show=screen.piece)
        screen.end_answer(first - started)
        if not options.once:
            screen.what_next(base_url, key, DEMO_MODEL_ID, str(home.path))
            await trio.sleep_forever()
        nursery.cancel_scope.cancel()


async def _start_coordinator(port: int, home: DevHome, key: str, stack: AsyncExitStack, nursery: trio.Nursery) -> None:
    ready_file = home.ready_file()
    ready_file.unlink(missing_ok=True)
    stack.callback(ready_file.unlink, missing_ok=True)
    arguments = ["serve", "--host", "127.0.0.1", "--port", str(port), "--ready-file", str(ready_file)]
    running = await stack.enter_async_context(
        child(
            "coordinator",
            "server.cli",
            [*arguments, "--stop-with-parent"],
            settings=coordinator_settings(key, home.database),
            log=home.log("coordinator"),
        )
    )
    nursery.start_soon(running.ended)
    with trio.move_on_after(COORDINATOR_SECONDS) as limit:
        await said_ready(ready_file)
    if limit.cancelled_caught:
        raise CommandFailed(
            f"The coordinator did not get ready within {COORDINATOR_SECONDS:.0f} s.\n{running.last_words()}",
            fix=f"see {running.log}",
        )


async def _start_provider(home: DevHome, port: int, stack: AsyncExitStack, nursery: trio.Nursery) -> None:
    arguments = ["start", "--foreground", "--model", "demo", "--coordinator", f"ws://127.0.0.1:{port}/ws/provider"]
    running = await stack.enter_async_context(
        child(
            "provider",
            "provider.cli",
            [*arguments, "--stop-with-parent"],
            settings={
                "DARKBLOOM_HOME": str(home.provider_home),
                "DARKBLOOM_DEV": "1",
                # The user's own configuration is for the user's own provider.
                "DARKBLOOM_CONFIG": str(home.provider_home / "provider.toml"),
            },
            log=home.log("provider"),
        )
    )
    nursery.start_soon(running.ended)


def coordinator_settings(key: str, database: Path) -> Mapping[str, str]:
    """Settings of the embedded coordinator: development profile, one key, its books in a file."""
    return {
        "DARKBLOOM_DATABASE_URL": f"sqlite:///{database}",
        "DARKBLOOM_API_KEYS": key,
        "DARKBLOOM_MIN_TRUST": "self_signed",
        "DARKBLOOM_ALLOW_DEV_ATTESTATION": "true",
        "DARKBLOOM_DRAIN_GRACE": "5s",
    }


def _client(base_url: str, key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=base_url, headers={"Authorization": f"Bearer {key}"}, timeout=WAIT_SECONDS, trust_env=False
    )
