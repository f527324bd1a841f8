"""A child notices that its parent is gone."""

import os
import signal
import subprocess
import sys

import pytest

from protocol import lifeline


@pytest.fixture
def kills(monkeypatch):
    seen = []
    monkeypatch.setattr(lifeline.os, "kill", lambda pid, number: seen.append((pid, number)))
    return seen


def test_end_of_the_pipe_is_one_sigterm_and_bytes_before_it_are_none(kills):
    reader, writer = os.pipe()
    thread = lifeline.stop_with_parent(reader)
    os.write(writer, b"x" * 3 * lifeline.READ_BYTES)
    assert thread.is_alive()
    assert thread.daemon
    os.close(writer)
    thread.join(5)
    os.close(reader)
    assert not thread.is_alive()
    assert kills == [(os.getpid(), signal.SIGTERM)]


def test_descriptor_that_cannot_be_read_counts_as_ended(kills):
    reader, writer = os.pipe()
    os.close(reader)
    thread = lifeline.stop_with_parent(writer)
    thread.join(5)
    os.close(writer)
    assert kills == [(os.getpid(), signal.SIGTERM)]


def test_process_stops_when_its_parent_closes_the_pipe():
    program = "import signal; from protocol import lifeline; lifeline.stop_with_parent(); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == -signal.SIGTERM
