"""`darkbloom dev`: the whole network as one process tree."""

from __future__ import annotations

import re
import signal
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import httpx
import trio

from tests.testbed.processes import child

READY_SECONDS = 90.0


async def until(condition: object, seconds: float = READY_SECONDS) -> None:
    """Wait until a condition holds."""
    with trio.fail_after(seconds):
        while not condition():  # type: ignore[operator]
            await trio.sleep(0.05)


async def test_once_streams_an_answer_and_exits_0(tmp_path: Path) -> None:
    command = ["-m", "provider.cli", "dev", "--once", "--port", "0", "--data-dir", str(tmp_path / "data")]
    async with child(command, home=tmp_path, settings={}, name="dev") as dev:
        assert await dev.wait(READY_SECONDS) == 0
        text = dev.text()
    assert re.search(r"first token after \d+\.\d s", text)
    assert "Darkbloom" in text.split("> What is Darkbloom?")[1]
    key = tmp_path / "data" / "api-key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


async def jobs_of_usage(shown: str) -> list[str]:
    """The jobs that the API tells of, asked with the address and the key on the screen."""
    base_url, key = re.search(r"API\s+(http\S+)", shown), re.search(r"key\s+(sk-db-\w+)", shown)
    assert base_url is not None
    assert key is not None
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(
            f"{base_url.group(1)}/payments/usage", headers={"Authorization": f"Bearer {key.group(1)}"}
        )
    assert answer.status_code == 200
    return [row["job_id"] for row in answer.json()["usage"]]


async def test_stays_up_keeps_its_key_and_ends_cleanly_on_ctrl_c(tmp_path: Path) -> None:
    command = ["-m", "provider.cli", "dev", "--port", "0", "--data-dir", str(tmp_path / "data")]
    keys, usage = [], []
    for turn in range(2):
        async with child(command, home=tmp_path, settings={}, name=f"dev-{turn}", stop=signal.SIGINT) as dev:
            await until(lambda dev=dev: "Ctrl-C ends everything." in dev.text())
            keys.append(re.search(r"key\s+(sk-db-\w+)", dev.text()))
            usage.append(await jobs_of_usage(dev.text()))
            dev.signal(signal.SIGINT)
            assert await dev.wait(30) == 0
    assert keys[0] is not None
    assert keys[1] is not None
    assert keys[0].group(1) == keys[1].group(1)
    # Each run asks one question of its own; the second one finds the books of the first.
    assert [len(jobs) for jobs in usage] == [1, 2]
    assert usage[1][1:] == usage[0]
    with closing(sqlite3.connect(f"file:{tmp_path / 'data' / 'coordinator.db'}?mode=ro", uri=True)) as books:
        assert books.execute("SELECT job_id FROM usage ORDER BY id DESC").fetchall() == [(job,) for job in usage[1]]


async def test_second_run_on_the_same_directory_is_told_and_leaves_the_first_alone(tmp_path: Path) -> None:
    command = ["-m", "provider.cli", "dev", "--port", "0", "--data-dir", str(tmp_path / "data")]
    async with child(command, home=tmp_path, settings={}, name="first", stop=signal.SIGINT) as first:
        await until(lambda: "Ctrl-C ends everything." in first.text())
        before = (tmp_path / "data" / "provider.log").read_bytes()
        assert before
        async with child(command, home=tmp_path, settings={}, name="second") as second:
            assert await second.wait(30) == 1
        assert f"runs already in {tmp_path / 'data'} (process {first.pid})" in second.text()
        assert "--data-dir" in second.text()
        assert (tmp_path / "data" / "provider.log").read_bytes().startswith(before)
        assert first.process.poll() is None


async def test_children_stop_when_the_parent_is_killed(tmp_path: Path) -> None:
    command = ["-m", "provider.cli", "dev", "--port", "0", "--data-dir", str(tmp_path / "data")]
    async with child(command, home=tmp_path, settings={}, name="dev") as dev:
        await until(lambda: "Ctrl-C ends everything." in dev.text())
        base_url = re.search(r"API\s+http://127.0.0.1:(\d+)/v1", dev.text())
        assert base_url is not None
        port = int(base_url.group(1))
        dev.signal(signal.SIGKILL)
        await dev.wait(5)

    async def refused() -> bool:
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            return True
        await stream.aclose()
        return False

    with trio.fail_after(20):
        while not await refused():
            await trio.sleep(0.05)
