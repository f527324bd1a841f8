"""Signals during `darkbloom dev`, its notices, and the first answer."""

import io
import json
import signal

import httpx
import pytest
import trio

import provider.dev.run as course
from provider.cli.exits import CommandFailed
from provider.dev import DevOptions, run_dev
from provider.dev.first_answer import WAIT_SECONDS, stream_answer, wait_until_routable
from provider.dev.screen import Screen


@pytest.fixture
def options(tmp_path):
    def made(*, once):
        return DevOptions(once=once, port=0, data_dir=tmp_path / "data", prompt="What?")

    return made


@pytest.fixture
def handler():
    """Give the handler of Ctrl-C back."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


async def interrupted(*_arguments):
    """A course that is interrupted in its very first step."""
    signal.raise_signal(signal.SIGINT)
    await trio.sleep_forever()


async def test_ctrl_c_during_the_start_ends_cleanly(options, monkeypatch, handler):
    monkeypatch.setattr(course, "_course", interrupted)
    assert await run_dev(options(once=False)) == 0


async def test_once_without_an_answer_is_a_failure(options, monkeypatch, handler):
    monkeypatch.setattr(course, "_course", interrupted)
    with pytest.raises(CommandFailed, match="before the answer was complete") as failed:
        await run_dev(options(once=True))
    assert failed.value.code == 1


async def test_second_ctrl_c_ends_the_process_at_once(options, monkeypatch, handler):
    seen = []

    async def slow_to_end(*_arguments):
        signal.raise_signal(signal.SIGINT)
        try:
            await trio.sleep_forever()
        finally:
            seen.append(signal.getsignal(signal.SIGINT))

    monkeypatch.setattr(course, "_course", slow_to_end)
    await run_dev(options(once=False))
    assert seen == [signal.SIG_DFL]


@pytest.mark.parametrize("implementation", ["c", "python"])
async def test_twin_is_noticed_with_its_reason(options, monkeypatch, capsys, implementation):
    async def nothing(*_arguments):
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(course, "_course", nothing)
    monkeypatch.setattr(course.native, "IMPLEMENTATION", implementation)
    monkeypatch.setattr(course.native, "WHY", "no compiler")
    assert await run_dev(options(once=True)) == 0
    assert ("no compiler" in capsys.readouterr().err) == (implementation == "python")


async def test_missing_demo_model_is_named(options, monkeypatch, tmp_path):
    monkeypatch.setattr(course, "demo_model_path", lambda: tmp_path / "none")
    with pytest.raises(CommandFailed, match="The demo model is missing"):
        await run_dev(options(once=True))


def test_output_without_a_terminal_is_plain_lines(monkeypatch):
    out, notes = io.StringIO(), io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", notes)
    screen = Screen()
    with screen.step("starting", "started"):
        pass
    with pytest.raises(CommandFailed), screen.step("loading", "loaded"):
        raise CommandFailed("no")
    screen.ask("[bold]What?")
    screen.piece("[red]An answer")
    screen.end_answer(1.25)
    screen.what_next("http://127.0.0.1:1", "sk-db-1", "m", "/logs")
    assert notes.getvalue() == "✓ started\n"
    assert "> [bold]What?\n[red]An answer\n\nfirst token after 1.2 s\n" in out.getvalue()
    assert "\x1b" not in out.getvalue() + notes.getvalue()


def client_of(answer):
    return httpx.AsyncClient(base_url="http://dev", transport=httpx.MockTransport(answer))


def events(*payloads):
    return "".join(f"data: {payload if isinstance(payload, str) else json.dumps(payload)}\n\n" for payload in payloads)


def delta(text):
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


async def test_answer_is_shown_piece_by_piece():
    body = events(delta(""), delta("Hel"), delta("lo"), {"choices": []}, "[DONE]")
    shown = []
    async with client_of(lambda request: httpx.Response(200, text=body)) as client:
        _first, text = await stream_answer(client, "m", "p", show=shown.append)
    assert shown == ["Hel", "lo"]
    assert text == "Hello"


def broken_connection(request):
    raise httpx.RemoteProtocolError("peer closed", request=request)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda _: httpx.Response(429, json={"error": {"message": "All busy."}}), "The API answered 429: All busy."),
        (lambda _: httpx.Response(502, text="<html>"), "The API answered 502: Bad Gateway"),
        (lambda _: httpx.Response(200, text=events({"error": {"message": "Gone."}})), "The answer broke off: Gone."),
        (lambda _: httpx.Response(200, text=events("[DONE]")), "The answer was empty."),
        (broken_connection, r"The connection to the API broke off \(RemoteProtocolError\)."),
    ],
)
async def test_failed_answer_is_one_sentence(answer, told):
    async with client_of(answer) as client:
        with pytest.raises(CommandFailed, match=told):
            await stream_answer(client, "m", "p", show=lambda piece: None)


async def test_wait_for_a_provider_is_bounded_and_names_the_log(autojump_clock):
    def nobody(request):
        return httpx.Response(200, json={"data": [{"id": "m", "metadata": {"routable_providers": 0}}]})

    async with client_of(nobody) as client:
        with pytest.raises(CommandFailed, match="No provider became ready for m within 90 s") as failed:
            await wait_until_routable(client, "m", fix="see the log")
    assert failed.value.fix == "see the log"
    assert trio.current_time() >= WAIT_SECONDS


async def test_wait_ends_with_the_first_routable_provider(autojump_clock):
    turns = iter(range(10))

    def soon(request):
        turn = next(turns)
        if turn == 0:
            raise httpx.ConnectError("not yet", request=request)
        return httpx.Response(200, json={"data": [{"id": "m", "metadata": {"routable_providers": turn - 1}}]})

    async with client_of(soon) as client:
        await wait_until_routable(client, "m")
    assert next(turns) == 3
