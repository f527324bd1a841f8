"""Plants fourteen bugs, one by one, into a copy of the C code: the quick tests and the fuzz driver must find each."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fuzz_native import ROOT, SANITIZERS, build_driver, run_driver, write_corpus

FUZZ_SECONDS = 20
TEST_SECONDS = 300
# The driver is left out of the tests here, so that tests and fuzzing are judged apart.
LEFT_OUT = ("test_build.py", "test_fuzz_driver.py")


@dataclass(frozen=True)
class Bug:
    """One exact replacement in one file of native/src."""

    name: str
    file: str
    right: str
    wrong: str


BUGS = (
    Bug("mask restarts with every read", "frames.c", "mask[(done + i) & 3]", "mask[i & 3]"),
    Bug("close code 1004 is allowed", "frames.c", "c <= 1003", "c <= 1004"),
    Bug("size limit is off by one", "pump.c", "p->left > p->max_message", "p->left >= p->max_message"),
    Bug("base64 ignores trailing bits", "base64.c", "(count < 3 && bytes[2] != 0)", "(count < 3 && bytes[2] > 255)"),
    Bug("overlong UTF-8 is accepted", "utf8.c", "p[1] < 0xa0", "p[1] < 0x90"),
    Bug("a chunk may repeat a key", "scan_chunk.c", "|| (key & w->seen)", "|| (key & w->seen & DATA)"),
    Bug("detach keeps the key", "attempts.c", "db_wipe_key(attempt->key, DB_KEY_BYTES);", ""),
    Bug(
        "a message overtakes open runs",
        "pump.c",
        "if (flush_all(p) != 0) {\n        return DB_NO_MEMORY;\n    }\n    p->message_told",
        "p->message_told",
    ),
    Bug("detach breaks a probe chain", "attempts.c", ">= ((i - hole) & mask)", "> ((i - hole) & mask)"),
    Bug(
        "an escaped backslash hides a slash",
        "splice.c",
        "if (p[i] == '\\\\') {\n            i++;",
        "if (p[i] == '\\\\' && p[i + 1] == '/') {\n            i++;",
    ),
    Bug("a run that leaves overtakes a message", "pump.c", "!p->message_told && ", ""),
    Bug("a run that leaves overtakes an event of its attempt", "pump.c", "t->told_in != p->feeds && ", ""),
    Bug(
        "a rest lacks its first byte",
        "spout.c",
        "run->data + sent, run->len - sent",
        "run->data + sent + 1, run->len - sent - 1",
    ),
    Bug("a closed spout keeps its descriptor", "spout.c", "CLOSE(s->fd);", ""),
)


def copy_tree(target: Path) -> None:
    """Copy what the tests of `native` need."""
    unwanted = shutil.ignore_patterns("_speed*", "__pycache__")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "tests/conftest.py"):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target / name)
    shutil.copytree(ROOT / "native", target / "native", ignore=unwanted)
    shutil.copytree(ROOT / "tests/unit/native", target / "tests/unit/native", ignore=unwanted)


def plant(target: Path, bug: Bug) -> None:
    """Replace the one right place by the wrong one."""
    path = target / "native" / "src" / bug.file
    source = path.read_text()
    if source.count(bug.right) != 1:
        raise SystemExit(f"The bug {bug.name!r} no longer fits {bug.file}: repair its text in scripts/planted_bugs.py.")
    path.write_text(source.replace(bug.right, bug.wrong))


def find_by_tests(target: Path) -> str:
    """Name of the first test that fails; empty if all pass."""
    environment = {**os.environ, "PYTHONPATH": str(target)}
    built = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=target,
        env=environment,
        capture_output=True,
        check=False,
    )
    if built.returncode != 0 or not list((target / "native").glob("_speed*")):
        raise SystemExit("The copy does not build: run `python setup.py build_ext --inplace` to see why.")
    ignored = [f"--ignore=tests/unit/native/{name}" for name in LEFT_OUT]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "tests/unit/native", *ignored]
    done = subprocess.run(
        command, cwd=target, env=environment, capture_output=True, text=True, check=False, timeout=TEST_SECONDS
    )
    failed = re.search(r"^(?:FAILED|ERROR) \S*?([\w]+\.py(?:::\w+)?)", done.stdout, re.MULTILINE)
    if done.returncode != 0 and failed is None:
        return f"pytest ended with {done.returncode}"
    return failed[1] if failed else ""


def find_by_fuzzing(target: Path) -> str:
    """What the driver says; empty if it runs to its end."""
    build_dir = target / "fuzz-build"
    build_dir.mkdir()
    driver = build_driver(target / "native", build_dir, (*SANITIZERS, "-Wno-error"))
    write_corpus(build_dir / "corpus")
    done = run_driver(driver, "--seconds", str(FUZZ_SECONDS), "--seed", "1", "--corpus", str(build_dir / "corpus"))
    if done.returncode == 0:
        return ""
    said = re.search(r"FAILED: ([^(\n]+)|AddressSanitizer: (\S+)|runtime error: ([^\n]+)", done.stderr)
    case = re.search(r"--case (\d+)", done.stderr)
    words = next(word for word in said.groups() if word).strip() if said else f"ended with {done.returncode}"
    return f"{words}, case {case[1]}" if case else words


def main() -> int:
    """Print one line per bug; 0 if tests and fuzzing found every one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", type=int, help="number of the one bug to plant")
    only = parser.parse_args().only
    missed = 0
    print("| # | bug | file | first failing test | fuzz driver |\n|---|---|---|---|---|", flush=True)
    for number, bug in enumerate(BUGS, start=1):
        if only not in (None, number):
            continue
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder)
            copy_tree(target)
            plant(target, bug)
            found = [find_by_tests(target), find_by_fuzzing(target)]
        missed += found.count("")
        tests, fuzz = (text or "**missed**" for text in found)
        print(f"| {number} | {bug.name} | `{bug.file}` | `{tests}` | {fuzz} |", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
