"""The state export: what is in an archive, what is left out, and that nothing stays behind."""

from __future__ import annotations

import io
import itertools
import os
import sqlite3
import stat
import threading
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import trio
from cryptography.exceptions import InvalidTag

from server.state_export import ExportBusy, ExportFailed, RecipientUnusable, StateExport, capture, export
from tests.testbed.age_reader import CHUNK, decrypt, new_identity


def make_root(folder: Path) -> Path:
    root = folder / "data"
    (root / "mdm" / "deep").mkdir(parents=True)
    (root / "mdm" / "push.pem").write_bytes(b"certificate")
    (root / "mdm" / "push.pem").chmod(0o600)
    (root / "mdm" / "deep").chmod(0o750)
    (root / "journal").write_bytes(os.urandom(3 * CHUNK))
    (root / "coordinator.log").write_bytes(b"lines")
    (root / "link").symlink_to(root / "journal")
    os.mkfifo(root / "pipe")
    with closing(sqlite3.connect(root / "mdm" / "devices.db", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=WAL").fetchall()
        database.execute("CREATE TABLE pairs (a INTEGER, b INTEGER)")
        database.execute("INSERT INTO pairs VALUES (0, 0)")
    return root


async def whole(made: export.SealedArchive) -> bytes:
    pieces = []
    while piece := await made.read():
        pieces.append(piece)
    made.close()
    assert sum(map(len, pieces)) == made.size
    return b"".join(pieces)


def opened(data: bytes) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert archive.testzip() is None
    return archive


async def test_an_archive_decrypts_and_holds_the_state(tmp_path: Path) -> None:
    root, staging = make_root(tmp_path), tmp_path / "staging"
    staging.mkdir()
    key, recipient = new_identity()
    made = await StateExport(root, recipient=recipient, staging=staging, expected=["mdm/devices.db"]).make()
    assert (made.encrypted, made.files, made.databases) == (True, 3, 1)
    assert list(staging.iterdir()) == []
    data = await whole(made)
    archive = opened(decrypt(data, key))
    assert sorted(archive.namelist()) == ["journal", "mdm/", "mdm/deep/", "mdm/devices.db", "mdm/push.pem"]
    assert archive.read("journal") == (root / "journal").read_bytes()
    modes = {info.filename: stat.S_IMODE(info.external_attr >> 16) for info in archive.infolist()}
    assert (modes["mdm/push.pem"], modes["mdm/deep/"]) == (0o600, 0o750)
    restored = tmp_path / "restored.db"
    restored.write_bytes(archive.read("mdm/devices.db"))
    with closing(sqlite3.connect(restored)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("SELECT a, b FROM pairs").fetchall() == [(0, 0)]


async def test_another_key_and_a_changed_byte_open_nothing(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    key, recipient = new_identity()
    data = await whole(await StateExport(root, recipient=recipient).make())
    with pytest.raises(InvalidTag):
        decrypt(data, new_identity()[0])
    changed = bytearray(data)
    changed[-1] ^= 1
    with pytest.raises(InvalidTag):
        decrypt(bytes(changed), key)
    assert b"certificate" not in data


async def test_a_plain_archive_is_the_zip_itself(tmp_path: Path) -> None:
    made = await StateExport(make_root(tmp_path), recipient=None).make()
    assert not made.encrypted
    assert opened(await whole(made)).read("mdm/push.pem") == b"certificate"


@contextmanager
def writing(path: Path) -> Iterator[threading.Event]:
    """Keep both columns of the one row equal, as fast as can be, in a thread."""
    stop, busy = threading.Event(), threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as database:
            for number in itertools.count(1):
                if stop.is_set():
                    return
                database.execute("BEGIN IMMEDIATE")
                database.execute("UPDATE pairs SET a = a + 1")
                database.execute("UPDATE pairs SET b = b + 1")
                database.execute("INSERT INTO pairs SELECT a, b FROM pairs LIMIT 1")
                database.execute("COMMIT")
                if number > 20:
                    busy.set()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield busy
    finally:
        stop.set()
        thread.join()


async def test_a_database_that_is_written_to_gives_one_moment(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    with writing(root / "mdm" / "devices.db") as busy:
        assert await trio.to_thread.run_sync(busy.wait, 30)
        data = await whole(await StateExport(root, recipient=None).make())
    restored = tmp_path / "restored.db"
    restored.write_bytes(opened(data).read("mdm/devices.db"))
    with closing(sqlite3.connect(restored)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("SELECT COUNT(*) FROM pairs WHERE a <> b").fetchall() == [(0,)]
        assert database.execute("SELECT COUNT(*) FROM pairs").fetchone()[0] > 20


@pytest.mark.parametrize(
    ("expected", "text"),
    [(["mdm/other.db"], "The database mdm/other.db is expected"), (["journal"], "The database journal is expected")],
)
async def test_a_missing_database_fails_the_export(tmp_path: Path, expected: list[str], text: str) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    with pytest.raises(ExportFailed, match=text):
        await StateExport(make_root(tmp_path), recipient=None, expected=expected, staging=staging).make()
    assert list(staging.iterdir()) == []


async def test_nothing_to_export_and_no_root_fail(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "only.log").write_bytes(b"x")
    with pytest.raises(ExportFailed, match="There is no file below"):
        await StateExport(empty, recipient=None).make()
    with pytest.raises(ExportFailed, match="cannot be read: No such file"):
        await StateExport(tmp_path / "nowhere", recipient=None).make()


async def test_a_damaged_database_fails_the_export(tmp_path: Path) -> None:
    root, staging = make_root(tmp_path), tmp_path / "staging"
    staging.mkdir()
    (root / "broken.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 8000)
    with pytest.raises(ExportFailed, match=r"The database broken\.db gives no sound snapshot"):
        await StateExport(root, recipient=None, staging=staging).make()
    assert list(staging.iterdir()) == []


async def test_a_bad_recipient_is_told_before_anything_is_staged(tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    wrong = "age1" + "q" * 58
    with pytest.raises(RecipientUnusable, match="age-keygen"):
        await StateExport(make_root(tmp_path), recipient=wrong, staging=staging).make()
    assert list(staging.iterdir()) == []


async def test_a_directory_that_is_too_large_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_root(tmp_path)
    monkeypatch.setattr(capture, "MAX_FILES", 2)
    with pytest.raises(ExportFailed, match="export a smaller directory"):
        await StateExport(root, recipient=None).make()
    monkeypatch.setattr(capture, "MAX_FILES", 100)
    monkeypatch.setattr(capture, "MAX_TOTAL_BYTES", 1000)
    with pytest.raises(ExportFailed, match="export a smaller directory"):
        await StateExport(root, recipient=None).make()


async def test_staging_is_private_and_goes_even_when_the_caller_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, staging = make_root(tmp_path), tmp_path / "staging"
    staging.mkdir()
    entered, leave = threading.Event(), threading.Event()
    modes: list[int] = []
    real = capture.capture

    def slow(*args: object, **more: object) -> object:
        modes.extend(stat.S_IMODE(one.stat().st_mode) for one in staging.iterdir())
        entered.set()
        assert leave.wait(30)
        return real(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(export, "capture", slow)
    exporting = StateExport(root, recipient=None, staging=staging)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(exporting.make)
            assert await trio.to_thread.run_sync(entered.wait, 30)
            with pytest.raises(ExportBusy):
                await exporting.make()
            scope.cancel()
            leave.set()
    assert scope.cancelled_caught
    assert modes == [0o700]
    assert list(staging.iterdir()) == []
    leave.set()
    (await exporting.make()).close()
