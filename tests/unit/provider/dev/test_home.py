"""The data directory of `darkbloom dev`."""

import os
import stat
import threading
from pathlib import Path

import pytest

from provider.cli.exits import CommandFailed
from provider.dev.home import DevHome

KEY = "sk-db-" + "a1" * 32


@pytest.fixture
def home(tmp_path):
    return DevHome.open(tmp_path / "data")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_directories_key_and_nothing_else_are_made_private(tmp_path):
    home = DevHome.open(tmp_path / "data")
    key = home.api_key()
    assert mode(home.path) == mode(home.provider_home) == 0o700
    assert mode(home.path / "api-key") == 0o600
    assert sorted(path.name for path in home.path.iterdir()) == ["api-key", "provider"]
    assert DevHome.open(tmp_path / "data").api_key() == key


def test_relative_directory_is_meant_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    home = DevHome.open(Path("data"))
    assert home.path == tmp_path / "data"
    assert home.ready_file().is_absolute()


def test_key_files_of_others_are_closed_first(home):
    path = home.path / "api-key"
    path.write_text(KEY + "\n")
    path.chmod(0o644)
    assert home.api_key() == KEY
    assert mode(path) == 0o600


@pytest.mark.parametrize(
    "content", [b"", b"sk-db-", b"\xff" * 70, b"sk-db-" + b"Z" * 64, (KEY + "\n" + KEY).encode(), b"x" * 5000]
)
def test_file_without_a_key_is_refused_and_left_alone(home, content):
    path = home.path / "api-key"
    path.write_bytes(content)
    with pytest.raises(CommandFailed, match="does not hold an API key") as refused:
        home.api_key()
    assert refused.value.fix == f"rm {path}"
    assert path.read_bytes() == content


def test_link_to_another_file_is_not_followed(home, tmp_path):
    target = tmp_path / "target"
    target.write_text(KEY)
    target.chmod(0o644)
    (home.path / "api-key").symlink_to(target)
    with pytest.raises(CommandFailed, match="cannot be read or made"):
        home.api_key()
    assert mode(target) == 0o644


def test_pipe_in_place_of_the_key_does_not_hang(home):
    os.mkfifo(home.path / "api-key")
    with pytest.raises(CommandFailed, match="does not hold an API key"):
        home.api_key()


def test_left_over_of_a_broken_start_is_no_obstacle(home):
    (home.path / f"api-key.{os.getpid()}").write_text("half")
    assert home.api_key().startswith("sk-db-")
    assert not (home.path / f"api-key.{os.getpid()}").exists()


def test_first_starts_at_once_end_with_one_key(home, monkeypatch):
    """Each start believes that there is no key yet; the first link wins."""
    count = 8
    together = threading.Barrier(count)
    names = iter(range(count))
    number = threading.local()
    link = os.link

    def process_id():
        if not hasattr(number, "value"):
            number.value = next(names)
        return number.value

    def wait_and_link(source, target):
        together.wait(10)
        link(source, target)

    monkeypatch.setattr(os, "getpid", process_id)
    monkeypatch.setattr(os, "link", wait_and_link)
    keys = []
    threads = [threading.Thread(target=lambda: keys.append(home.api_key())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(keys) == count
    assert len(set(keys)) == 1
    assert sorted(path.name for path in home.path.iterdir()) == ["api-key", "provider"]


def test_directory_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandFailed, match="cannot be made") as refused:
        DevHome.open(tmp_path / "file" / "below")
    assert "--data-dir" in refused.value.fix


def test_read_only_directory_is_named_and_no_fault_of_the_program(home, monkeypatch):
    def refuse(*_arguments, **_options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(CommandFailed, match="Read-only file system"):
        home.api_key()


def test_second_run_in_one_directory_is_told(home):
    with home.lock():
        with pytest.raises(CommandFailed, match=rf"runs already in .*data \(process {os.getpid()}\)") as failed:
            home.lock()
        assert "--data-dir" in failed.value.fix
    home.lock().release()
