"""An agent of the OpenAI Agents SDK against a coordinator, as a process of its own: `BASE_URL KEY MODEL SURFACE…`.

A SURFACE is `responses` or `chat`. It prints one JSON object for each: what the agent said at last, in one piece and
streamed, and what its tool was asked.
"""

from __future__ import annotations

import json
import sys

import anyio
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI


async def use(base_url: str, key: str, model: str, surface: str) -> None:
    """Run the same agent twice, with and without streaming."""
    set_tracing_disabled(disabled=True)
    asked: list[str] = []

    @function_tool
    def weather(city: str) -> str:
        """Tell the weather of a city."""
        asked.append(city)
        return f"{city}: 21°. "

    client = AsyncOpenAI(base_url=f"{base_url}/v1", api_key=key, max_retries=0)
    kind = OpenAIResponsesModel if surface == "responses" else OpenAIChatCompletionsModel
    agent = Agent(
        name="meteorologist",
        instructions="Answer with the tool.",
        model=kind(model=model, openai_client=client),
        tools=[weather],
        model_settings=ModelSettings(temperature=0, include_usage=True),
    )
    whole = await Runner.run(agent, "Weather?")
    streamed = Runner.run_streamed(agent, "Weather?")
    kinds = [event.type async for event in streamed.stream_events()]
    usage = whole.context_wrapper.usage
    print(
        json.dumps(
            {
                "whole": whole.final_output,
                "streamed": streamed.final_output,
                "asked": asked,
                "requests": usage.requests,
                "output_tokens": usage.output_tokens,
                "events": len(kinds),
            }
        )
    )
    await client.close()


async def run(base_url: str, key: str, model: str, *surfaces: str) -> None:
    """Use one surface after the other."""
    for surface in surfaces:
        await use(base_url, key, model, surface)


if __name__ == "__main__":
    anyio.run(run, *sys.argv[1:])
