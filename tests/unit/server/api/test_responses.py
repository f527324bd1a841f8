"""`POST /v1/responses` through the whole application."""

from __future__ import annotations

import json

import trio
from trio.testing import MockClock

from server.accounts import Identity
from server.registry import CatalogEntry
from server.relay import Outcome
from tests.unit.protocol.api.responses.asked import events
from tests.unit.server.api.site import Site, error_of, open_site
from tests.unit.server.relay.relay_world import MODEL, Served, delta, saying

PATH = "/v1/responses"


async def test_answer(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.provider("p", saying("Hel", "lo"))
        body = {"model": MODEL, "input": "hi", "instructions": "be brief", "max_output_tokens": 9}
        status, headers, answer = await site.ask("POST", PATH, body=body)
        assert status == 200
        response = json.loads(answer)
        job_hex = headers["x-inference-job-id"].replace("-", "")
        assert (response["id"], response["object"], response["status"]) == (f"resp_{job_hex}", "response", "completed")
        assert response["output"][0]["content"][0]["text"] == "Hello"
        assert (response["instructions"], response["max_output_tokens"]) == ("be brief", 9)
        assert (response["model"], response["created_at"]) == (MODEL, 1_780_000_000)
        sent = site.world.channels["p"].seen[0].body
        assert [message["role"] for message in sent["messages"]] == ["system", "user"]
        assert sent["max_tokens"] == 9
        record = await site.world.settled()
        assert record.outcome is Outcome.SUCCESS


async def test_stream(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.provider("p", saying("Hel", "lo"))
        status, headers, out = await site.ask("POST", PATH, body={"model": MODEL, "input": "hi", "stream": True})
        assert status == 200
        assert headers["content-type"] == "text/event-stream"
        found = events(out)
        assert found[0].kind == "response.created"
        assert found[-1].kind == "response.completed"
        assert [event.data["delta"] for event in found if event.kind == "response.output_text.delta"] == ["Hel", "lo"]
        record = await site.world.settled()
        assert (record.delivered_deltas, record.delivered_text_bytes) == (2, 5)


async def test_runs_that_the_pump_spliced_are_events_like_the_others(autojump_clock: MockClock) -> None:
    spliced: list[int] = []

    async def talks(served: Served) -> None:
        for piece in ("a", "b"):
            served.say(delta(piece))
            await trio.sleep(1)
        served.say(b'data: {"choices":[{"index":0,"delta":{"reasoning":"hm"}}]}\n\n')
        served.say(delta("c"))
        spliced.append(served.spliced)
        served.complete()

    async with open_site() as site:
        site.world.provider("p", talks)
        _, _, out = await site.ask("POST", PATH, body={"model": MODEL, "input": "hi", "stream": True})
        output = events(out)[-1].data["response"]["output"]
        assert [item["type"] for item in output] == ["message", "reasoning", "message"]
        assert [item["content"][0]["text"] for item in output[::2]] == ["ab", "c"]
        assert spliced == [2]
        record = await site.world.settled()
        assert (record.delivered_deltas, record.delivered_text_bytes) == (4, 5)


async def test_a_broken_stream_ends_with_an_error_and_the_failed_response(autojump_clock: MockClock) -> None:
    async def breaks(served: Served) -> None:
        served.say(delta("half"))
        served.error(error="x", status_code=500, failure_code="generation_failure")

    async with open_site() as site:
        site.world.provider("p", breaks)
        status, _, out = await site.ask("POST", PATH, body={"model": MODEL, "input": "hi", "stream": True})
        assert status == 200
        assert [event.kind for event in events(out)[-2:]] == ["error", "response.failed"]
        assert [event.kind for event in events(out)].count("error") == 1


async def test_errors_have_the_common_envelope(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        await refuses(site, {"model": MODEL, "input": []}, 400, "input")
        await refuses(site, {"model": MODEL, "input": "x", "previous_response_id": "r"}, 400, "previous_response_id")
        await refuses(site, {"model": "nope", "input": "x"}, 404, "model")
        image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
        site.world.registry.set_catalog(
            [CatalogEntry(id=MODEL, features=("tools",), context_window=40)], trio.current_time()
        )
        await refuses(site, {"model": MODEL, "input": [{"role": "user", "content": [image]}]}, 400, "input")
        await refuses(
            site, {"model": MODEL, "input": "x", "text": {"format": {"type": "json_object"}}}, 400, "text.format"
        )
        await refuses(site, {"model": MODEL, "input": "x" * 400, "max_output_tokens": 9}, 400, "input")
        site.keys.special["few"] = Identity(account_id="acct_1", key_id="key_1", allowed_models=frozenset({"other"}))
        status, _, body = await site.ask("POST", PATH, body={"model": MODEL, "max_output_tokens": -1}, key="few")
        assert (status, error_of(body)["code"]) == (403, "model_not_allowed")
        assert (await site.ask("GET", PATH))[0] == 405
        assert (await site.ask("GET", f"{PATH}/resp_1"))[0] == 404


async def refuses(site: Site, body: dict[str, object], status: int, param: str) -> None:
    got, _, answer = await site.ask("POST", PATH, body=body)
    assert (got, error_of(answer)["param"]) == (status, param)
