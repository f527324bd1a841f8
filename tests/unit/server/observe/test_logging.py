"""Log lines: form, context, redaction, exceptions without values, and a queue that never blocks."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from server.observe import RequestScope, clean_foreign_text, logging_to, mask_ip, request_notes
from server.observe.log_format import JsonFormatter, TextFormatter, area, describe_exception
from server.observe.log_queue import QueueingHandler
from server.observe.redact import MASK, redact

CANARY = "canary-7f3a"


def _line(
    message: str = "hello", *arguments: object, error: BaseException | None = None, **extra: object
) -> dict[str, Any]:
    record = logging.LogRecord("server.registry.queue", logging.WARNING, "f.py", 1, message, arguments, None)
    vars(record).update(extra)
    if error is not None:
        record.exc_info = (type(error), error, error.__traceback__)
    loaded = json.loads(JsonFormatter().format(record))
    assert isinstance(loaded, dict)
    return loaded


def _raised(make: Callable[[], BaseException]) -> BaseException:
    try:
        raise make()
    except BaseException as error:
        return error


def test_line_has_the_fixed_members_first() -> None:
    line = _line("took %d ms", 5, model="demo")
    assert list(line)[:4] == ["ts", "level", "msg", "logger"]
    assert (line["level"], line["msg"], line["logger"], line["model"]) == (
        "warn",
        "took 5 ms",
        "registry.queue",
        "demo",
    )
    assert line["ts"].endswith("Z")
    assert len(line["ts"]) == len("2026-11-21T10:50:23.755827Z")


def test_ids_of_the_request_are_added() -> None:
    with RequestScope("pub-1", "own-1") as notes:
        request_notes().route = "/x"
        line = _line()
        assert notes.route == "/x"
    assert (line["request_id"], line["coord_request_id"]) == ("pub-1", "own-1")
    assert "request_id" not in _line()


def test_attributes_never_replace_the_fixed_members() -> None:
    assert _line(level="debug", ts="never")["level"] == "warn"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("authorization", "Bearer sk-db-abc"),
        ("Set-Cookie", "a=b"),
        ("provider_token", "x"),
        ("x-api-key", "x"),
        ("DATABASE_URL", "x"),
        ("private_key", b"x"),
    ],
)
def test_secret_names_are_masked(name: str, value: object) -> None:
    assert redact(name, value) == MASK
    assert redact("outer", {name: value, "kept": 1}) == {name: MASK, "kept": 1}


def test_token_counts_are_not_secrets() -> None:
    assert redact("prompt_tokens", 5) == 5


@pytest.mark.parametrize(
    "text",
    [
        f"key sk-db-{CANARY}",
        f"Bearer {CANARY}",
        f"eyJhbGciOiJIUzI1NiJ9.{CANARY}.sig",
        f"-----BEGIN EC PRIVATE KEY-----\n{CANARY}\n-----END EC PRIVATE KEY-----",
        f"postgresql://user:{CANARY}@host/db",
    ],
)
def test_secret_values_are_masked_wherever_they_stand(text: str) -> None:
    line = _line("saw %s", text, detail=[text], nested={"a": {"b": text}})
    assert CANARY not in json.dumps(line)
    assert MASK in line["msg"]


def test_bytes_and_unfinished_numbers_are_described() -> None:
    line = _line(body=b"prompt", ratio=float("nan"))
    assert line["body"] == "<6 bytes>"
    assert line["ratio"] == "nan"


def test_exception_is_type_and_place_without_its_values() -> None:
    error = _raised(lambda: ValueError(CANARY))
    error.__cause__ = _raised(lambda: KeyError(CANARY))
    line = _line(error=error)
    assert line["error"] == "ValueError"
    assert line["at"].startswith("tests/unit/server/observe/test_logging.py:")
    assert line["cause"].startswith("KeyError at ")
    assert CANARY not in json.dumps(line)


def test_exception_group_names_its_leaves() -> None:
    leaf = _raised(lambda: OSError(5, CANARY))
    described = describe_exception(_raised(lambda: ExceptionGroup(CANARY, [ExceptionGroup("x", [leaf])])))
    assert described["error"] == "ExceptionGroup"
    assert CANARY not in json.dumps(described)
    (inside,) = described["inside"]  # type: ignore[misc]
    assert inside.startswith("OSError at ")


def test_text_form_is_one_line() -> None:
    record = logging.LogRecord("darkbloom.link", logging.INFO, "f.py", 1, "two\nlines", (), None)
    vars(record).update({"count": 3})
    line = TextFormatter().format(record)
    assert "\n" not in line
    assert "INFO  link two\\nlines count=3" in line


def test_foreign_text_is_cut_and_cleaned() -> None:
    assert clean_foreign_text("a\x00\nb" + "c" * 999) == "a b" + "c" * 253


@pytest.mark.parametrize(
    ("address", "masked"),
    [("203.0.113.77", "203.0.113.0/24"), ("2001:db8:1:2::3", "2001:db8:1::/48"), ("bogus", MASK)],
)
def test_addresses_are_shown_as_networks(address: str, masked: str) -> None:
    assert mask_ip(address) == masked


def test_area_drops_the_package() -> None:
    assert [area("darkbloom.api"), area("server.relay.x"), area("quart.app")] == ["api", "relay.x", "quart.app"]


def _read_all(descriptor: int) -> list[dict[str, Any]]:
    with os.fdopen(descriptor, "rb") as stream:
        return [json.loads(line) for line in stream]


def test_lines_reach_the_descriptor_with_levels_by_area() -> None:
    reading, writing = os.pipe()
    with logging_to(writing, form="json", level="info", levels={"registry": "debug", "api": "error"}):
        logging.getLogger("darkbloom.link").debug("hidden")
        logging.getLogger("server.registry.queue").debug("shown")
        logging.getLogger("darkbloom.api").warning("hidden")
        logging.getLogger("someone.else").info("hidden")
        logging.getLogger("someone.else").warning("foreign")
    os.close(writing)
    assert [line["msg"] for line in _read_all(reading)] == ["shown", "foreign"]
    assert logging.getLogger("server.registry").level == logging.NOTSET


def test_full_queue_drops_information_first_and_counts() -> None:
    reading, writing = os.pipe()
    handler = QueueingHandler(writing, JsonFormatter(), max_lines=16)
    for level in (logging.INFO, logging.WARNING):
        for number in range(20):
            handler.emit(logging.LogRecord("x", level, "f", 1, f"{number}", (), None))
    assert handler.dropped == {"info": 6, "warn": 18}
    handler.start()
    handler.stop()
    os.close(writing)
    lines = _read_all(reading)
    assert [line["level"] for line in lines] == ["info"] * 14 + ["warn"] * 2


def test_slow_reader_never_blocks_the_caller() -> None:
    reading, writing = os.pipe()
    handler = QueueingHandler(writing, JsonFormatter(), max_lines=64)
    handler.start()
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "y" * 4000, (), None)
    done = threading.Event()

    def emit_many() -> None:
        for _ in range(500):
            handler.emit(record)
        done.set()

    threading.Thread(target=emit_many).start()
    assert done.wait(5)
    assert handler.dropped["error"] > 300
    drained = threading.Thread(target=lambda: _read_all(reading))
    drained.start()
    handler.stop()
    os.close(writing)
    drained.join(5)
    assert not drained.is_alive()


def test_closed_descriptor_is_counted_not_raised() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    handler = QueueingHandler(writing, JsonFormatter())
    handler.start()
    handler.emit(logging.LogRecord("x", logging.ERROR, "f", 1, "y", (), None))
    handler.stop()
    os.close(writing)
    assert handler.dropped["unwritten"] == 1
