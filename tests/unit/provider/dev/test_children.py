"""Child processes, ports, and what is said when a part ends."""

import os
import signal
import socket
from contextlib import AsyncExitStack

import pytest
import trio
import trio.testing

from provider.cli.exits import CommandFailed
from provider.cli.root import _leaf
from provider.dev.children import PREFERRED_PORT, child, choose_port, said_ready

SERVER = ("http.server", ["--bind", "127.0.0.1", "0"])


@pytest.fixture
def taken():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_wanted_port_is_taken_as_it_is(taken):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    assert choose_port(free) == free


def test_wanted_port_in_use_is_named(taken):
    with pytest.raises(CommandFailed, match=f"Port {taken} on 127.0.0.1 cannot be used") as refused:
        choose_port(taken)
    assert "--port" in refused.value.fix


def test_without_a_wish_it_is_8080_or_any_free_one(taken, monkeypatch):
    assert choose_port(0) not in (0, taken)
    monkeypatch.setattr("provider.dev.children.PREFERRED_PORT", taken)
    assert choose_port(None) not in (0, taken)
    assert PREFERRED_PORT == 8080


async def test_child_that_dies_at_once_is_named_with_its_last_words(tmp_path):
    log = tmp_path / "child.log"
    async with child("coordinator", "provider.cli", ["nonsense"], settings={}, log=log) as running:
        with pytest.raises(CommandFailed, match="The coordinator ended with exit status 64") as failed:
            await running.ended()
    assert "There is no command 'nonsense'." in str(failed.value)
    assert failed.value.fix == f"see {log}"


async def test_error_of_the_course_is_not_hidden_by_the_end_of_the_children(tmp_path):
    async def two_children_and_an_error():
        async with AsyncExitStack() as stack:
            nursery = await stack.enter_async_context(trio.open_nursery())
            for name in ("coordinator", "provider"):
                log = tmp_path / f"{name}.log"
                running = await stack.enter_async_context(child(name, *SERVER, settings={}, log=log))
                nursery.start_soon(running.ended)
            raise CommandFailed("The answer was empty.")

    with pytest.raises(BaseExceptionGroup) as raised:
        await two_children_and_an_error()
    assert str(_leaf(raised.value)) == "The answer was empty."


async def test_leaving_the_block_ends_and_reaps_the_child_even_when_cancelled(tmp_path):
    with trio.CancelScope() as scope:
        async with child("provider", *SERVER, settings={}, log=tmp_path / "child.log") as running:
            scope.cancel()
            await trio.sleep_forever()
    assert running.process.returncode == -signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(running.process.pid, 0)


async def test_child_that_ignores_sigterm_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("provider.dev.children.STOP_SECONDS", 0.1)
    async with child("provider", *SERVER, settings={}, log=tmp_path / "child.log") as running:
        monkeypatch.setattr(running.process, "send_signal", lambda number: None)
    assert running.process.returncode == -signal.SIGKILL


async def test_child_runs_our_code_whatever_lies_in_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "provider").mkdir()
    (tmp_path / "provider" / "__init__.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "child.log"
    async with child("provider", "provider.cli", ["--version"], settings={}, log=log) as running:
        assert await running.process.wait() == 0
    assert log.read_text().startswith("darkbloom ")


async def test_log_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(CommandFailed, match="cannot be written"):
        async with child("provider", *SERVER, settings={}, log=tmp_path / "none" / "child.log"):
            pytest.fail("the block must not run")


async def test_settings_of_the_shell_do_not_reach_a_child(monkeypatch):
    from provider.config.child_environment import child_environment

    monkeypatch.setenv("DARKBLOOM_COORDINATOR_URL", "wss://elsewhere")
    monkeypatch.setenv("DARKBLOOM_NATIVE", "0")
    monkeypatch.setenv("LD_PRELOAD", "/tmp/foreign.so")
    made = child_environment({"DARKBLOOM_DEV": "1"})
    ours = {name: value for name, value in made.items() if name.startswith("DARKBLOOM_")}
    assert ours == {"DARKBLOOM_NATIVE": "0", "DARKBLOOM_DEV": "1"}
    assert "LD_PRELOAD" not in made


async def test_ready_file_is_awaited(tmp_path, autojump_clock):
    ready = tmp_path / "ready"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(said_ready, ready)
        await trio.testing.wait_all_tasks_blocked()
        assert nursery.child_tasks
        ready.write_text("{}")
