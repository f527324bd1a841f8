"""An agent of Pydantic AI against a coordinator, as a process of its own: `BASE_URL KEY MODEL SURFACE…`.

A SURFACE is `chat`, `responses` or `messages`. It prints one JSON object for each: what the agent said, in one
piece and streamed, what its tool was asked, and a structured answer.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import anyio
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider


class Weather(BaseModel):
    """A structured answer."""

    city: str
    degrees: int


def model_of(base_url: str, key: str, model: str, surface: str) -> Any:
    """The framework's model for one of our surfaces."""
    if surface == "messages":
        anthropic = AsyncAnthropic(base_url=base_url, api_key=key, max_retries=0)
        return AnthropicModel(model, provider=AnthropicProvider(anthropic_client=anthropic))
    openai = AsyncOpenAI(base_url=f"{base_url}/v1", api_key=key, max_retries=0)
    kind = OpenAIResponsesModel if surface == "responses" else OpenAIChatModel
    return kind(model, provider=OpenAIProvider(openai_client=openai))


async def use(base_url: str, key: str, model: str, surface: str) -> None:
    """Run a loop of tools, once streamed, and ask for a structured answer."""
    asked: list[str] = []
    chosen = model_of(base_url, key, model, surface)
    agent = Agent(chosen, instructions="Answer with the tool.")

    @agent.tool_plain
    def weather(city: str) -> str:
        """Tell the weather of a city."""
        asked.append(city)
        return f"{city}: 21°. "

    whole = await agent.run("Weather?")
    async with agent.run_stream("Weather?") as stream:
        streamed = await stream.get_output()
    structured = await Agent(chosen, output_type=Weather).run("Structured, please.")
    usage = whole.usage() if callable(whole.usage) else whole.usage
    print(
        json.dumps(
            {
                "whole": whole.output,
                "streamed": streamed,
                "asked": asked,
                "structured": structured.output.model_dump(),
                "requests": usage.requests,
                "output_tokens": usage.output_tokens,
            }
        )
    )


async def run(base_url: str, key: str, model: str, *surfaces: str) -> None:
    """Use one surface after the other."""
    for surface in surfaces:
        await use(base_url, key, model, surface)


if __name__ == "__main__":
    anyio.run(run, *sys.argv[1:])
