"""Agent frameworks as people use them, against real processes: they work by changing the base URL."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trio

from tests.testbed.coordinator import API_KEY, Coordinator
from tests.testbed.processes import environment
from tests.testbed.sim_provider import MODEL, SimulatedProvider
from tests.testbed.sim_script import Answer, FaultScript

CITIES = ("Zürich", 'Má"laga 🌍')
TRUTH = "".join(f"{city}: 21°. " for city in CITIES)


def fragment(index: int, arguments: str, **more: str) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": more.pop("name")} if "name" in more else {})
    return {"tool_calls": [{"index": index, "type": "function", "function": function, **more}]}


def called(name: str, *arguments: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Deltas of calls, arguments letter by letter."""
    found: list[Mapping[str, Any]] = []
    for index, given in enumerate(arguments):
        found.append(fragment(index, "", id=f"call_{name}_{index}", name=name))
        found += [fragment(index, letter) for letter in json.dumps(given, ensure_ascii=False)]
    return found


def model(body: Mapping[str, Any]) -> tuple[Answer, FaultScript]:
    """Ask for the weather of two cities, then repeat what was told; give structured answers as they are asked for."""
    if "Structured" in json.dumps(body["messages"]):
        truth = {"city": CITIES[0], "degrees": 21}
        for tool in body.get("tools", ()):
            return Answer(pieces=(), deltas=called(tool["function"]["name"], truth)), FaultScript()
        return Answer(pieces=tuple(json.dumps(truth))), FaultScript()
    told = [message["content"] for message in body["messages"] if message["role"] == "tool"]
    if told:
        return Answer(pieces=told), FaultScript()
    deltas = [{"reasoning_content": "Which cities?"}, *called("weather", *({"city": city} for city in CITIES))]
    return Answer(pieces=(), deltas=deltas), FaultScript()


async def run_agent(module: str, server: Coordinator, home: Path, *surfaces: str) -> list[dict[str, Any]]:
    """Run an agent in a process of its own, over each surface; gives what it printed."""
    command = [sys.executable, "-m", module, server.base_url, API_KEY, MODEL, *surfaces]
    done = await trio.run_process(
        command, capture_stdout=True, capture_stderr=True, check=False, env=environment(home, {})
    )
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    found = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert len(found) == len(surfaces)
    return found


async def test_openai_agents(running: Coordinator, tmp_path: Path) -> None:
    async with SimulatedProvider(answering=model).session(running.link_url) as provider:
        for found in await run_agent("tests.testbed.agent_openai", running, tmp_path, "responses", "chat"):
            assert found["whole"] == found["streamed"] == TRUTH
            assert found["asked"] == [*CITIES, *CITIES]
            assert found["requests"] == 2
            assert found["output_tokens"] > len(CITIES)
            assert found["events"] > 4
    assert len(provider.bodies) == 2 * 4
    assert {body["temperature"] for body in provider.bodies} == {0}


async def test_pydantic_ai(running: Coordinator, tmp_path: Path) -> None:
    surfaces = ("chat", "responses", "messages")
    # The framework forces a call to get a structured answer.
    async with SimulatedProvider(answering=model, forces_tools=True).session(running.link_url) as provider:
        for found in await run_agent("tests.testbed.agent_pydantic", running, tmp_path, *surfaces):
            assert found["whole"] == found["streamed"] == TRUTH
            assert sorted(found["asked"]) == sorted([*CITIES, *CITIES])
            assert found["structured"] == {"city": CITIES[0], "degrees": 21}
            assert found["requests"] == 2
            assert found["output_tokens"] > len(CITIES)
    assert len(provider.bodies) == 5 * len(surfaces)
