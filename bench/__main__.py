"""`python -m bench NAME [--json] [--quick] [--write PATH]`: run one benchmark, or all of them."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

from bench.machine import Pace, pace
from bench.page import render

NAMES = ("relay", "native", "connections", "api", "dialects", "engine", "grammar", "store", "routing")


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"bench.{name}")


def main() -> int:
    """Run the named benchmarks; print tables, or one JSON object with `--json`."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", choices=[*NAMES, "all"], help="which benchmark to run")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else on stdout")
    parser.add_argument("--quick", action="store_true", help="short runs: shows that it works, not how fast it is")
    parser.add_argument("--write", type=Path, metavar="PATH", help="also write the page with machine and date")
    arguments = parser.parse_args()
    names = NAMES if arguments.name == "all" else (arguments.name,)
    results: dict[str, dict[str, object]] = {}
    paces: dict[str, Pace] = {}
    for name in names:
        print(f"bench {name} …", file=sys.stderr, flush=True)
        paces[name] = pace()
        results[name] = {**_module(name).run(quick=arguments.quick), "machine": asdict(paces[name])}
        if not arguments.json:
            print(_module(name).table(results[name]), f"\nJust before, {paces[name]}.", flush=True)
    if arguments.json:
        print(json.dumps(results if arguments.name == "all" else results[arguments.name], indent=2))
    if arguments.write:
        tables = {name: str(_module(name).table(result)) for name, result in results.items()}
        descriptions = {name: (_module(name).__doc__ or "").strip() for name in results}
        arguments.write.write_text(render(tables, descriptions, paces))
    return 0


if __name__ == "__main__":
    sys.exit(main())
