"""`POST /v1/completions` through the whole application."""

from __future__ import annotations

import json

from trio.testing import MockClock

from tests.unit.server.api.site import error_of, open_site
from tests.unit.server.relay.relay_world import MODEL, saying

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


async def test_errors_have_the_common_envelope(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        status, _, body = await site.ask("POST", PATH, body={"model": MODEL, "prompt": [1, 2]})
        assert (status, error_of(body)["param"]) == (400, "prompt")
        status, _, body = await site.ask("POST", PATH, body={"model": "nope", "prompt": "x"})
        assert (status, error_of(body)["code"]) == (404, "model_not_found")
        assert (await site.ask("POST", PATH, body={}, key=None))[0] == 401
