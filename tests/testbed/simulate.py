"""Simulated providers as a process of their own: `python -m tests.testbed.simulate --url … --count N --pieces N …`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trio

from tests.testbed.sim_provider import MODEL, SimulatedProvider
from tests.testbed.sim_script import Answer, Answering, FaultScript, SessionScript

WORD = "lorem ipsum dolor sit amet "


def paced(pieces: int, gap_seconds: float, chunks_per_write: int, text: str, *, corked: bool = False) -> Answering:
    """Answer with `pieces` pieces of text, or as many as the prompt says in the form `pieces=N`."""
    script = FaultScript(gap_seconds=gap_seconds, chunks_per_write=chunks_per_write, corked=corked)

    def answer(body: Mapping[str, Any]) -> tuple[Answer, FaultScript]:
        prompt = str(body["messages"][-1]["content"])
        count = int(prompt.removeprefix("pieces=")) if prompt.startswith("pieces=") else pieces
        return Answer(pieces=[f"{text}{index % 10} " for index in range(count)]), script

    return answer


async def run(arguments: argparse.Namespace) -> None:
    """Connect all providers and serve until the process is ended."""
    answering = paced(
        arguments.pieces, arguments.gap, arguments.chunks_per_write, arguments.text, corked=arguments.corked
    )
    async with trio.open_nursery() as nursery:
        for index in range(arguments.count):
            provider = SimulatedProvider(
                models=(arguments.model,),
                answering=answering,
                script=SessionScript(heartbeat_seconds=arguments.heartbeat),
                max_concurrency=arguments.concurrency,
            )
            await nursery.start(provider.run, arguments.url)
            if index % 50 == 49:
                await trio.sleep(0.01)
        await trio.Path(arguments.ready_file).write_text(json.dumps({"count": arguments.count}))


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--ready-file", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--pieces", type=int, default=20)
    parser.add_argument("--gap", type=float, default=0.0)
    parser.add_argument("--chunks-per-write", type=int, default=1)
    parser.add_argument("--corked", action="store_true", help="one write for a whole answer")
    parser.add_argument("--concurrency", type=int, default=24)
    parser.add_argument("--heartbeat", type=float, default=5.0)
    parser.add_argument("--text", default=WORD)
    trio.run(run, parser.parse_args())


if __name__ == "__main__":
    main()
