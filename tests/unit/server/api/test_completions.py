"""`POST /v1/completions` through the whole application."""

from __future__ import annotations

import json

import trio
from trio.testing import MockClock

from protocol.messages.register import RAW_PROMPTS
from server.registry import CatalogEntry
from tests.unit.server.api.site import error_of, open_site
from tests.unit.server.relay.relay_world import MODEL, Served, saying

PATH = "/v1/completions"


async def test_answer_and_stream(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.provider("p", saying("Hel", "lo"))
        body = {"model": MODEL, "prompt": ["hi"], "max_tokens": 9}
        status, headers, answer = await site.ask("POST", PATH, body=body)
        assert status == 200
        job_hex = headers["x-inference-job-id"].replace("-", "")
        assert json.loads(answer)["id"] == f"cmpl-{job_hex}"
        assert json.loads(answer)["choices"][0]["text"] == "Hello"
        sent = site.world.channels["p"].seen[0].body
        assert (sent["messages"], sent["max_tokens"]) == ([{"role": "user", "content": "hi"}], 9)
        status, headers, out = await site.ask("POST", PATH, body=body | {"stream": True})
        assert headers["content-type"] == "text/event-stream"
        events = [text.removeprefix("data: ") for text in out.decode().split("\n\n") if text]
        assert events[-1] == "[DONE]"
        assert "".join(json.loads(event)["choices"][0]["text"] for event in events[:-1]) == "Hello"


async def test_a_raw_prompt_goes_to_a_machine_that_continues_it(autojump_clock: MockClock) -> None:
    async def continues(served: Served) -> None:
        for text in (" upon", " a <think>time"):
            served.say(
                b'data: {"object":"text_completion","choices":[{"index":0,"text":"%b","finish_reason":null}]}\n\n'
                % text.encode()
            )
        served.complete()

    async with open_site() as site:
        site.world.registry.set_catalog([CatalogEntry(id=MODEL, features=("reasoning",))], trio.current_time())
        site.world.provider("template", saying("a reply"))
        body = {"model": MODEL, "prompt": "Once", "raw": True}
        status, _, answer = await site.ask("POST", PATH, body=body)
        assert (status, error_of(answer)["code"]) == (503, "model_unavailable")
        assert RAW_PROMPTS in error_of(answer)["message"]
        site.world.provider("raw", continues, features=(RAW_PROMPTS,))
        for stream in (False, True):
            status, _, answer = await site.ask("POST", PATH, body=body | {"stream": stream})
            assert status == 200
            shown = [json.loads(line[6:]) for line in answer.decode().split("\n\n") if '"text"' in line and stream]
            shown = shown or [json.loads(answer)]
            assert "".join(one["choices"][0]["text"] for one in shown) == " upon a <think>time"
        assert site.world.channels["template"].seen == []
        sent = site.world.channels["raw"].seen[0].body
        assert (sent["endpoint"], sent["prompt"], "messages" in sent) == ("/v1/completions", "Once", False)


async def test_errors_have_the_common_envelope(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        status, _, body = await site.ask("POST", PATH, body={"model": MODEL, "prompt": [1, 2]})
        assert (status, error_of(body)["param"]) == (400, "prompt")
        site.world.provider("p", saying("x"))
        site.world.registry.set_catalog([CatalogEntry(id=MODEL, context_window=40)], trio.current_time())
        status, _, body = await site.ask("POST", PATH, body={"model": MODEL, "prompt": "x" * 400, "max_tokens": 9})
        assert (status, error_of(body)["code"], error_of(body)["param"]) == (400, "context_length_exceeded", "prompt")
        status, _, body = await site.ask("POST", PATH, body={"model": "nope", "prompt": "x"})
        assert (status, error_of(body)["code"]) == (404, "model_not_found")
        assert (await site.ask("POST", PATH, body={}, key=None))[0] == 401
