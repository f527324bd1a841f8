"""`python -m tests.testbed.crash_victim MODULE:NAME`: runs a scenario and dies at a statement.

Reads lines "N URL" and writes the exit status of each victim, a fork that is killed at its Nth statement.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback

import trio

from tests.testbed.crash import KILLED, SURVIVED, CrashScenario, open_url

FAILED = 99


async def _run(scenario: CrashScenario, url: str, stop_at: int) -> None:
    count = 0
    armed = False

    def on_statement(sql: str) -> None:
        nonlocal count
        if not armed:
            return
        count += 1
        if count == stop_at:
            os._exit(KILLED)

    async with open_url(url, on_statement=on_statement) as store:
        armed = True
        await scenario.run(store)
        # What closing does is no part of the operation.
        os._exit(SURVIVED)


def _victim(scenario: CrashScenario, url: str, stop_at: int) -> None:
    try:
        trio.run(_run, scenario, url, stop_at)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(FAILED)


def main() -> None:
    """Serve until the input ends."""
    module, name = sys.argv[1].split(":")
    scenario: CrashScenario = getattr(importlib.import_module(module), name)
    for line in sys.stdin:
        stop_at, url = line.split(maxsplit=1)
        child = os.fork()
        if child == 0:
            _victim(scenario, url.strip(), int(stop_at))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
