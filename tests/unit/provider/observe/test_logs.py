"""Log lines of the daemon."""

import io
import json
import logging
import subprocess
import sys

import pytest

from provider.observe import JsonFormatter, TextFormatter, configure_logging


def record(**fields):
    made = logging.LogRecord("provider.link.client", logging.WARNING, "x.py", 1, "connection ended", (), None)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_a_json_line_has_ids_and_no_content():
    line = json.loads(JsonFormatter().format(record(request_id="r1", prompt="CANARY", content="CANARY")))
    assert line["level"] == "warn"
    assert line["logger"] == "link.client"
    assert line["msg"] == "connection ended"
    assert line["request_id"] == "r1"
    assert "CANARY" not in str(line)


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_objects_are_named_by_type_only(formatter):
    class Secretive:
        def __repr__(self):
            return "CANARY"

    line = formatter.format(record(thing=Secretive(), things=[Secretive()]))
    assert "<Secretive>" in line
    assert "CANARY" not in line


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_exceptions_are_named_by_type_only(formatter):
    try:
        raise ValueError("CANARY")
    except ValueError as error:
        made = record(exc_info=(ValueError, error, error.__traceback__))
    line = formatter.format(made)
    assert "ValueError" in line
    assert "CANARY" not in line


def test_a_text_line_stays_one_line():
    assert "\n" not in TextFormatter().format(record(reason="two\nlines"))


def test_configuring_sets_our_level_and_quietens_others():
    root = logging.getLogger()
    before = root.handlers[:], root.level
    ours = {name: logging.getLogger(name).level for name in ("provider", "protocol", "native")}
    stream = io.StringIO()
    try:
        configure_logging(form="auto", level="info", stream=stream)
        logging.getLogger("provider.x").info("hello")
        logging.getLogger("provider.x").debug("too much")
        logging.getLogger("foreign").info("noise")
    finally:
        root.handlers[:], root.level = before
        for name, level in ours.items():
            logging.getLogger(name).setLevel(level)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["msg"] for line in lines] == ["hello"]


def test_a_generator_fault_names_its_places_and_not_its_text(caplog):
    from provider.engine.slot import _log_fault

    try:
        raise ValueError("CANARY")
    except ValueError as error:
        _log_fault(error)
    line = json.loads(JsonFormatter().format(caplog.records[-1]))
    assert line["fault"] == "ValueError"
    assert line["place"].startswith("test_logs.py:")
    assert "CANARY" not in str(line)


def test_a_line_that_cannot_be_written_says_so_without_its_content():
    class Broken(logging.Formatter):
        def format(self, record):
            raise ValueError("CANARY")

    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    try:
        configure_logging(form="json", level="info", stream=stream)
        root.handlers[0].setFormatter(Broken())
        logging.getLogger("provider.x").warning("told %s", "CANARY")
    finally:
        root.handlers[:], root.level = before
        for name in ("provider", "protocol", "native"):
            logging.getLogger(name).setLevel(logging.NOTSET)
    line = json.loads(stream.getvalue())
    assert line["msg"] == "log line lost"
    assert line["place"].startswith("test_logs:")


LAST_WORDS = {
    "uncaught": "raise ValueError('CANARY')",
    "thread": "from threading import Thread\nt = Thread(target=int, args=('CANARY',))\nt.start()\nt.join()",
    "destructor": "class Dying:\n    def __del__(self):\n        int('CANARY')\nDying()",
}


@pytest.mark.parametrize("kind", LAST_WORDS)
def test_nobody_prints_the_text_of_an_exception(kind):
    begin = (
        "from provider.observe import configure_logging, mute_exception_texts\n"
        "configure_logging(form='json', level='info')\nmute_exception_texts()\n"
    )
    done = subprocess.run([sys.executable, "-c", begin + LAST_WORDS[kind]], capture_output=True, text=True, check=False)
    line = json.loads(done.stderr)
    assert line["fault"] == "ValueError"
    assert line["place"]
    assert "CANARY" not in done.stderr
