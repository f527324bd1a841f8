"""The application and the layers around it, over real sockets: ids, crashes, framework errors, metrics, CORS."""

from __future__ import annotations

import json
import logging
import re

import pytest
import trio
from quart import Blueprint

from protocol.settings import Secret
from server.answer import AnswerWriter, StreamingAnswer
from server.config import CoordinatorSettings
from server.listener import LOOPBACK_NETWORKS, Listener, ListenerLimits
from server.observe import Metrics, mint_request_id, render, request_notes
from server.observe.log_format import line_fields
from server.serve import Drain
from server.serve.app import build_app
from server.serve.lean_quart import LeanQuart
from server.serve.metrics_route import metrics_blueprint

from .conftest import OpenCoordinator, ask, get


def _blueprint(released: trio.Event) -> Blueprint:
    blueprint = Blueprint("probe", __name__)

    @blueprint.get("/crash")
    async def crash() -> str:
        raise ValueError("canary-value")

    @blueprint.get("/item/<name>")
    async def item(name: str) -> str:
        request_notes().account_id = "acc_1"
        return name

    @blueprint.post("/v1/chat/completions")
    async def chat() -> str:
        await released.wait()
        return "done"

    @blueprint.get("/sse-crash")
    async def sse_crash() -> StreamingAnswer:
        async def produce(writer: AnswerWriter) -> None:
            await writer.write(b"data: 1\n\n")
            raise ValueError("canary-value")

        headers = {"Content-Type": "text/event-stream"}
        return StreamingAnswer(produce, headers=headers, crash_event=lambda: b"event: error\n\n")

    return blueprint


class Site:
    """The application behind a listener."""

    def __init__(self, **changes: object) -> None:
        self.settings = CoordinatorSettings(**changes)  # type: ignore[arg-type]
        self.metrics = Metrics()
        self.drain = Drain()
        self.released = trio.Event()
        blueprints = [_blueprint(self.released), metrics_blueprint(self.settings, self.metrics)]
        self.app = build_app(self.settings, metrics=self.metrics, drain=self.drain, blueprints=blueprints)
        self.crashes: list[BaseException] = []
        self.port = 0

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        async def no_link(*_: object) -> None:
            raise AssertionError("no provider was expected")

        listener = Listener(
            self.app,
            no_link,
            limits=ListenerLimits(),
            trusted_proxies=LOOPBACK_NETWORKS,
            on_crash=self.crashes.append,
            new_request_id=mint_request_id,
        )
        async with trio.open_nursery() as nursery:
            urls = await nursery.start(listener.run, "127.0.0.1", 0)
            self.port = int(urls[0].rsplit(":", 1)[1])
            task_status.started()

    def metric(self, line: str) -> bool:
        return line in render(self.metrics.families.registry, "")[0].decode()


@pytest.fixture
async def site(nursery: trio.Nursery) -> Site:
    found = Site(max_body_bytes=2048, metrics_token=Secret("metrics-secret"), cors_origins=("https://app.example",))
    await nursery.start(found.serve)
    return found


async def test_request_id_is_minted_or_echoed(site: Site) -> None:
    _, headers, _ = await ask(site.port, get("/item/a"))
    assert re.fullmatch("[0-9a-v]{12}", headers["x-request-id"])
    assert headers["request-id"] == headers["x-request-id"]
    _, headers, _ = await ask(site.port, get("/item/a", "X-Request-ID: abc-1"))
    assert headers["x-request-id"] == "abc-1"
    _, headers, _ = await ask(site.port, get("/item/a", "X-Request-ID: a b"))
    assert re.fullmatch("[0-9a-v]{12}", headers["x-request-id"])


async def test_access_line_names_route_account_and_both_ids(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "darkbloom.access")
    seen: list[dict[str, object]] = []
    monkeypatch.setattr(caplog.handler, "emit", lambda record: seen.append(line_fields(record)))
    for _ in range(2):
        await ask(site.port, get("/item/a", "X-Request-ID: same", "X-Forwarded-For: 203.0.113.9"))
    lines = [line for line in seen if line["logger"] == "access"]
    assert [line["route"] for line in lines] == ["/item/<name>"] * 2
    assert {line["request_id"] for line in lines} == {"same"}
    assert len({line["coord_request_id"] for line in lines}) == 2
    assert (lines[0]["status"], lines[0]["account"], lines[0]["remote"]) == (200, "acc_1", "203.0.113.0/24")


async def test_unknown_paths_share_one_metric_series(site: Site) -> None:
    for path in ("/nope/1", "/nope/2"):
        status, _, body = await ask(site.port, get(path))
        assert status == 404
        error = json.loads(body)["error"]
        assert error["type"] == "invalid_request_error"
        assert path in error["message"]
    assert site.metric('darkbloom_http_requests_total{method="GET",route="unmatched",status="404"} 2.0')


async def test_crash_is_a_500_with_id_and_without_values(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    status, headers, body = await ask(site.port, get("/crash", "X-Request-ID: r-1"))
    assert status == 500
    assert headers["x-request-id"] == "r-1"
    assert json.loads(body)["error"]["type"] == "internal_error"
    assert json.loads(body)["error"]["message"] == "internal server error"
    assert [record.name for record in caplog.records if record.levelno >= logging.ERROR] == ["darkbloom.recovery"]
    assert not site.crashes
    assert (await ask(site.port, get("/item/a")))[0] == 200


async def test_crash_inside_an_event_stream_ends_it_with_an_error_event(site: Site) -> None:
    status, _, body = await ask(site.port, get("/sse-crash"))
    assert status == 200
    assert b"data: 1\n\n" in body
    assert b"event: error\n\n" in body
    assert b"canary-value" not in body
    assert body.endswith(b"0\r\n\r\n")
    assert not site.crashes


async def test_wrong_method_names_the_right_ones(site: Site) -> None:
    status, headers, body = await ask(site.port, get("/item/a", method="DELETE"))
    assert status == 405
    assert "get" in headers["allow"]
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


async def test_body_above_the_cap_is_413(site: Site) -> None:
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n" + b"x" * 4000
    site.released.set()
    app = site.app

    @app.before_request
    async def read_body() -> None:
        from quart import request as current

        await current.get_data()

    status, _, body = await ask(site.port, request.replace(b"Host: x", b"Host: x\r\nConnection: close"))
    assert status == 413
    assert json.loads(body)["error"]["code"] == "payload_too_large"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 401),
        (["Authorization: Bearer wrong"], 401),
        (["Authorization: Bearer metrics-secret"], 200),
    ],
)
async def test_metrics_need_their_token(site: Site, headers: list[str], status: int) -> None:
    found, answer_headers, body = await ask(site.port, get("/metrics", *headers))
    assert found == status
    if status == 200:
        assert answer_headers["content-type"].startswith("text/plain; version=0.0.4")
        assert b"darkbloom_http_requests_total" in body
    else:
        assert json.loads(body)["error"]["type"] == "authentication_error"


async def test_metrics_without_a_token_are_for_this_machine(running: OpenCoordinator) -> None:
    async with running() as (_, port):
        assert (await ask(port, get("/metrics")))[0] == 200
        assert (await ask(port, get("/metrics", "X-Forwarded-For: 203.0.113.9")))[0] == 401
        pretended = get("/metrics", "X-Forwarded-For: 203.0.113.9", "Remote-Addr: 127.0.0.1")
        assert (await ask(port, pretended))[0] == 401


async def test_allowed_origin_gets_permission_and_preflight(site: Site) -> None:
    origin = "Origin: https://app.example"
    _, headers, _ = await ask(site.port, get("/item/a", origin))
    assert headers["access-control-allow-origin"] == "https://app.example"
    assert headers["vary"] == "origin"
    status, headers, body = await ask(
        site.port, get("/v1/chat/completions", origin, "Access-Control-Request-Method: POST", method="OPTIONS")
    )
    assert (status, body) == (204, b"")
    assert "post" in headers["access-control-allow-methods"]


async def test_other_origins_get_none(site: Site) -> None:
    _, headers, _ = await ask(site.port, get("/item/a", "Origin: https://evil.example"))
    assert not [name for name in headers if name.startswith("access-control")]


async def test_draining_refuses_new_inference_and_finishes_what_runs(site: Site) -> None:
    answers: list[tuple[int, dict[str, str], bytes]] = []

    async def ask_slowly() -> None:
        answers.append(await ask(site.port, get("/v1/chat/completions", method="POST")))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_slowly)
        with trio.fail_after(5):
            while site.drain.inflight == 0:
                await trio.sleep(0.001)
        site.drain.set(draining=True)
        status, headers, body = await ask(site.port, get("/v1/chat/completions", method="POST"))
        assert (status, headers["retry-after"]) == (429, "3")
        assert json.loads(body)["error"]["reason"] == "draining"
        assert (await ask(site.port, get("/item/a")))[0] == 200
        assert site.drain.inflight == 1
        site.released.set()
        with trio.fail_after(5):
            await site.drain.wait_until_empty()
    assert answers[0][0] == 200
    site.drain.set(draining=False)
    assert (await ask(site.port, get("/v1/chat/completions", method="POST")))[0] == 200


def test_routes_are_matched_and_build_no_addresses() -> None:
    app = LeanQuart("routes")
    app.add_url_rule("/things/<name>", "thing", lambda name: name)
    routes = app.url_map.bind("localhost")
    assert routes.match("/things/one") == ("thing", {"name": "one"})
    with pytest.raises(RuntimeError, match="builds no addresses"):
        routes.build("thing", {"name": "one"})
