"""The API over loopback sockets: official clients, stalled and vanished consumers."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
import pytest
import trio

from server.listener import LOOPBACK_NETWORKS, Listener, ListenerLimits
from server.observe import mint_request_id
from server.relay import Outcome
from tests.unit.server.api.site import KEY, MESSAGES, Site, open_site
from tests.unit.server.relay.relay_world import MODEL, STOP, Served, delta, failing, saying

LARGE = "x" * 4000


@asynccontextmanager
async def listening(site: Site) -> AsyncIterator[int]:
    """The site's application behind a real listener; yields its port."""

    async def no_link(*_: object) -> None:
        raise AssertionError("no provider was expected")

    listener = Listener(
        site.app,
        no_link,
        limits=ListenerLimits(),
        trusted_proxies=LOOPBACK_NETWORKS,
        on_crash=lambda error: None,
        new_request_id=mint_request_id,
    )
    async with trio.open_nursery() as nursery:
        urls = await nursery.start(listener.run, "127.0.0.1", 0)
        yield int(urls[0].rsplit(":", 1)[1])
        nursery.cancel_scope.cancel()


async def ask(port: int) -> trio.SocketStream:
    """Send one streamed request on a connection with a small receive buffer."""
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await sock.connect(("127.0.0.1", port))
    stream = trio.SocketStream(sock)
    body = json.dumps({"model": MODEL, "messages": MESSAGES, "stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    await stream.send_all(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return stream


async def read_until(stream: trio.SocketStream, mark: bytes) -> bytes:
    data = b""
    with trio.fail_after(10):
        while mark not in data:
            part = await stream.receive_some(65536)
            assert part, data[-200:]
            data += part
    return data


async def pours(served: Served) -> None:
    """Send 4 KB chunks as fast as the loop allows until told to stop."""
    while served.live and not served.cancelled.is_set():
        for _ in range(8):
            served.say(delta(LARGE))
        await trio.sleep(0.001)
    served.complete(completion=9)


async def test_a_stalled_reader_is_cut_and_nobody_else_waits() -> None:
    async with open_site() as site:
        stalled = site.world.provider("a", pours)
        async with listening(site) as port:
            stream = await ask(port)
            with trio.fail_after(10):
                while not stalled.cancels:
                    await trio.sleep(0.01)
                while not site.world.ledger.records:
                    await trio.sleep(0.01)
            record = site.world.ledger.only
            assert (record.status, record.outcome) == (499, Outcome.PARTIAL_SUCCESS)
            assert len(stalled.cancels) == 1
            # What was queued comes, in order and whole, then the error, then a proper end of the body.
            data = await read_until(stream, b"0\r\n\r\n")
            assert b'data: {"error"' in data
            assert b"[DONE]" not in data
            await stream.aclose()


async def test_a_reader_that_vanishes_is_noticed() -> None:
    async with open_site() as site:
        channel = site.world.provider("a", pours)
        async with listening(site) as port:
            stream = await ask(port)
            await read_until(stream, b"data: ")
            await stream.aclose()
            with trio.fail_after(5):
                while not site.world.ledger.records:
                    await trio.sleep(0.01)
            assert site.world.ledger.only.outcome is Outcome.PARTIAL_SUCCESS
            assert len(channel.cancels) == 1
            assert site.world.reserved() == 0


async def test_a_busy_stream_arrives_whole_through_the_fast_way_out() -> None:
    texts = [f"{number}-{'é' * (number % 50)}," for number in range(1000)]

    async def script(served: Served) -> None:
        for number, text in enumerate(texts):
            served.say(delta(text))
            if number % 16 == 0:
                await trio.sleep(0.003)
        served.say(STOP)
        served.complete()

    async with open_site() as site:
        site.world.provider("a", script)
        async with listening(site) as port:
            client = openai.OpenAI(api_key=KEY, base_url=f"http://127.0.0.1:{port}/v1", max_retries=0)

            def read() -> str:
                with client.chat.completions.create(
                    model=MODEL, messages=[{"role": "user", "content": "x"}], stream=True
                ) as answer:
                    return "".join(chunk.choices[0].delta.content or "" for chunk in answer)

            assert await trio.to_thread.run_sync(read) == "".join(texts)
            client.close()


async def test_the_official_client_reads_tool_calls_usage_and_models() -> None:
    def fragment(index: int, call: str, name: str, arguments: str) -> bytes:
        calls = [{"index": index, "id": call, "function": {"name": name, "arguments": arguments}}]
        choices = [{"index": 0, "delta": {"tool_calls": calls}}]
        return b"data: " + json.dumps({"choices": choices}).encode()

    async def script(served: Served) -> None:
        served.say(fragment(0, "c1", "f", '{"a"'))
        served.say(fragment(0, "c1", "f", ":1}"))
        served.say(fragment(0, "c2", "g", "{}"))
        served.complete()

    async with open_site() as site:
        site.world.provider("a", script)
        async with listening(site) as port:
            client = openai.OpenAI(api_key=KEY, base_url=f"http://127.0.0.1:{port}/v1", max_retries=0)

            def read() -> tuple[list[tuple[str, str]], int, list[str]]:
                with client.chat.completions.stream(
                    model=MODEL,
                    messages=[{"role": "user", "content": "x"}],
                    stream_options={"include_usage": True},
                ) as answer:
                    completion = answer.get_final_completion()
                calls = completion.choices[0].message.tool_calls or []
                names = [(call.function.name, call.function.arguments) for call in calls]
                usage = completion.usage.total_tokens if completion.usage is not None else 0
                return names, usage, [model.id for model in client.models.list()]

            calls, total, models = await trio.to_thread.run_sync(read)
            assert calls == [("f", '{"a":1}'), ("g", "{}")]
            assert total == 5
            assert models == [MODEL]
            client.close()


async def test_the_official_client_raises_its_typed_errors() -> None:
    async with open_site() as site:
        site.world.provider("a", failing(status_code=503))
        async with listening(site) as port:
            client = openai.OpenAI(api_key=KEY, base_url=f"http://127.0.0.1:{port}/v1", max_retries=0)

            def fails(**members: object) -> openai.APIStatusError:
                fields: dict[str, object] = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], **members}
                with pytest.raises(openai.APIStatusError) as caught:
                    client.chat.completions.create(**fields)  # type: ignore[call-overload]
                return caught.value

            limited = await trio.to_thread.run_sync(fails)
            assert isinstance(limited, openai.RateLimitError)
            assert limited.request_id
            missing = await trio.to_thread.run_sync(lambda: fails(model="nope"))
            assert isinstance(missing, openai.NotFoundError)
            assert missing.code == "model_not_found"
            bad = await trio.to_thread.run_sync(lambda: fails(n=2))
            assert isinstance(bad, openai.BadRequestError)
            assert bad.param == "n"
            client.close()


async def test_a_broken_stream_raises_in_the_official_client() -> None:
    async def breaks(served: Served) -> None:
        served.say(delta("a"))
        await trio.sleep(0.05)
        served.error(status_code=500)

    async with open_site() as site:
        site.world.provider("a", breaks)
        async with listening(site) as port:
            client = openai.OpenAI(api_key=KEY, base_url=f"http://127.0.0.1:{port}/v1", max_retries=0)

            def read() -> openai.APIError:
                with (
                    pytest.raises(openai.APIError) as caught,
                    client.chat.completions.create(
                        model=MODEL, messages=[{"role": "user", "content": "x"}], stream=True
                    ) as answer,
                ):
                    for _ in answer:
                        pass
                return caught.value

            error = await trio.to_thread.run_sync(read)
            assert error.type == "provider_error"
            client.close()


async def test_two_requests_share_one_connection() -> None:
    async with open_site() as site:
        site.world.provider("a", saying("one"))
        async with listening(site) as port:
            stream = await ask(port)
            first = await read_until(stream, b"0\r\n\r\n")
            assert b"[DONE]" in first
            body = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
            await stream.send_all(body)
            assert b'"status":"ok"' in await read_until(stream, b"}")
            await stream.aclose()
