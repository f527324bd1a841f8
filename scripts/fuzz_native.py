"""Builds the C code with sanitizers and fuzzes it without Python; `--coverage` measures lines with gcov instead."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-DDB_TEST_ALLOC")
SANITIZERS = ("-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
COVERAGE = ("-g", "-O0", "--coverage")
LEAST_PUMP_COVERAGE = 95.0


def build_driver(native_dir: Path, build_dir: Path, flags: tuple[str, ...]) -> Path:
    """Compile sources and driver into `build_dir`; SystemExit with the compiler's words if that fails."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise SystemExit("There is no C compiler: install gcc, or set CC.")
    driver = build_dir / "driver"
    sources = [*sorted((native_dir / "src").glob("*.c")), *sorted((native_dir / "fuzz").glob("*.c"))]
    command = [compiler, *WARNINGS, *flags, "-o", str(driver), *map(str, sources)]
    done = subprocess.run(command, cwd=build_dir, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"The driver does not build:\n{done.stderr}")
    return driver


def write_corpus(path: Path) -> None:
    """The scanner's vectors, each behind its length in four little-endian bytes."""
    sys.path.insert(0, str(ROOT))
    from tests.unit.native.scan_vectors import VECTORS

    texts = [source.encode() for _, source, _ in VECTORS]
    path.write_bytes(b"".join(len(text).to_bytes(4, "little") + text for text in texts))


def run_driver(driver: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the driver; without leak detection where the container forbids it (it needs ptrace)."""
    done = _run(driver, arguments, detect_leaks="1")
    if done.returncode != 0 and "LeakSanitizer has encountered a fatal error" in done.stderr:
        print("leak detection is not possible here (no ptrace): running without", file=sys.stderr)
        done = _run(driver, arguments, detect_leaks="0")
    return done


def _run(driver: Path, arguments: tuple[str, ...], *, detect_leaks: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ASAN_OPTIONS": f"detect_leaks={detect_leaks}", "UBSAN_OPTIONS": "print_stacktrace=1"}
    return subprocess.run([str(driver), *arguments], env=environment, capture_output=True, text=True, check=False)


def line_coverage(build_dir: Path) -> dict[str, float]:
    """Percentage of executed lines of each file of native/src."""
    notes = [str(path) for path in build_dir.glob("*.gcda")]
    done = subprocess.run(["gcov", *notes], cwd=build_dir, capture_output=True, text=True, check=True)
    found = re.findall(r"File '[^']*/src/([^/']+)'\nLines executed:([0-9.]+)%", done.stdout)
    return {name: float(percent) for name, percent in found}


def main() -> int:
    """Fuzz for the given time, or measure coverage; 0 if all is well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="how long to fuzz")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)), help="repeat an earlier run")
    parser.add_argument("--case", type=int, help="run only this case of the seed")
    parser.add_argument("--coverage", action="store_true", help="measure line coverage of the driver instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        build_dir = Path(folder)
        driver = build_driver(ROOT / "native", build_dir, COVERAGE if options.coverage else SANITIZERS)
        write_corpus(build_dir / "corpus")
        arguments = ["--seconds", str(options.seconds), "--seed", str(options.seed)]
        if options.case is not None:
            arguments += ["--case", str(options.case)]
        else:
            arguments += ["--corpus", str(build_dir / "corpus")]
        done = run_driver(driver, *arguments)
        print(done.stdout, end="")
        if done.returncode != 0:
            print(done.stderr, file=sys.stderr, end="")
            return 1
        if options.coverage:
            return report_coverage(line_coverage(build_dir))
    return 0


def report_coverage(lines: dict[str, float]) -> int:
    """Print the table; 1 if the pump is covered too little."""
    for name, percent in sorted(lines.items()):
        print(f"{percent:6.2f} %  {name}")
    if lines["pump.c"] < LEAST_PUMP_COVERAGE:
        print(f"pump.c is below {LEAST_PUMP_COVERAGE} %: extend native/fuzz/script.c.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
