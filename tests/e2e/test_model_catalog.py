"""A model's whole way: published, registered with a real coordinator, downloaded by a real command, served."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import trio

from provider.demo import demo_model_path
from tests.testbed.consumer import chat
from tests.testbed.coordinator import API_KEY, coordinator
from tests.testbed.model_server import ModelServer
from tests.testbed.processes import ROOT, child, environment

MODEL = "org/demo-4bit"
KEY = "publishing-" + "7e57" * 8
GREEDY = {"temperature": 0, "max_tokens": 40}


async def command(home: Path, settings: dict[str, str], *arguments: str) -> str:
    """Run `darkbloom models …` and give its standard output."""
    done = await trio.run_process(
        [sys.executable, "-m", "provider.cli", "models", *arguments],
        env=environment(home, settings),
        cwd=ROOT,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


async def test_published_model_is_downloaded_and_served(tmp_path: Path) -> None:
    home = tmp_path / "machine"
    (home / "key").parent.mkdir()
    (home / "key").write_text(KEY)
    async with ModelServer.open() as files:
        settings = {"DARKBLOOM_PUBLISHING_KEY": KEY, "DARKBLOOM_MODEL_CDN_URL": files.url}
        async with coordinator(tmp_path / "coordinator", settings) as server:
            mine = {
                "DARKBLOOM_COORDINATOR_URL": server.base_url,
                "DARKBLOOM_MODELS_CACHE_DIR": str(home / "hub"),
                "DARKBLOOM_HOME": str(home / "home"),
                "DARKBLOOM_DEV": "1",
            }
            publish = ["publish", str(demo_model_path()), "--id", MODEL, "--version", "1", "--to", str(home / "cdn")]
            await command(home, mine, *publish)
            files.serve_folder(home / "cdn")
            registered = await command(home, mine, *publish, "--register", "--key-file", str(home / "key"), "--json")
            assert json.loads(registered)["registered"] is True
            listed = json.loads(await command(home, mine, "catalog", "--json"))["models"]
            assert [(entry["id"], entry["fits"]) for entry in listed] == [(MODEL, True)]
            said = await command(home, mine, "download", MODEL)
            assert "all files verified" in said
            start = ["-m", "provider.cli", "start", "--foreground", "--model", MODEL]
            async with child(start, home=home, settings=mine, name="provider") as provider:
                await server.routable(MODEL, seconds=60)
                if sys.platform == "linux":
                    status = Path(f"/proc/{provider.pid}/status").read_text()
                    assert "\nSeccomp:\t2\n" in status
                    assert "\nNoNewPrivs:\t1\n" in status
                loaded = json.loads(await command(home, mine, "list", "--json"))["models"]
                assert [(entry["id"], entry["loaded"]) for entry in loaded] == [(MODEL, True)]
                head, text, events = await chat(server.port, API_KEY, MODEL, "What is Darkbloom?", **GREEDY)
                assert (head.status, events[-1]) == (200, "[DONE]")
                assert "Darkbloom" in text
