"""A download that is killed again and again, at random points, comes to its end without fetching much twice."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import trio

from protocol.manifest import encode_manifest
from protocol.weight_hash import weight_hash
from provider.models.hub import HubCache
from tests.testbed.model_folder import write_model_folder

ROOT = Path(__file__).parents[4]
KILLS = 20 if os.environ.get("DARKBLOOM_TEST_FULL") == "1" else 4
WEIGHTS = KILLS * 4 * 2**20
SECONDS = 60


async def test_killed_download_goes_on(server, tmp_path):
    manifest = server.publish(write_model_folder(tmp_path / "source", weights=WEIGHTS))
    (tmp_path / "manifest.json").write_bytes(encode_manifest(manifest))
    command = [sys.executable, "-m", "tests.testbed.download_child", str(tmp_path / "manifest.json"), server.url]
    cache = HubCache(tmp_path / "hub")
    random = Random(4)
    server.bytes_per_second = 4_000_000
    stops = sorted(random.randrange(manifest.total_size_bytes) for _ in range(KILLS))
    with trio.fail_after(SECONDS * KILLS):
        for stop in stops:
            with subprocess.Popen([*command, str(cache.root)], cwd=ROOT) as child:
                while server.sent < stop:
                    assert child.poll() is None, "the download ended too early"
                    await trio.sleep(0.01)
                child.send_signal(signal.SIGKILL)
            assert child.returncode == -signal.SIGKILL
            assert not list(cache.folder(manifest.model_id).snapshots.glob("rev-*"))
        server.bytes_per_second = float("inf")
        done = await trio.run_process([*command, str(cache.root)], cwd=ROOT, capture_stdout=True)
    directory, fetched = done.stdout.decode().split()
    assert weight_hash(Path(directory)) == manifest.aggregate_sha256
    assert int(fetched) < manifest.total_size_bytes
    assert server.sent <= 1.1 * manifest.total_size_bytes
