"""The root command: quick help, exit codes, one sentence for every failure."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest

from provider.cli import root
from provider.cli.exits import CommandFailed
from provider.cli.lazy import LazyGroup
from provider.cli.root import COMMANDS, run

ROOT = Path(__file__).parents[4]

LAZY = """
import json, sys
from provider.cli.root import run
codes = [run(line.split()) for line in {lines!r}]
heavy = {{"trio", "mlx", "mlx_lm", "numpy", "httpx", "transformers", "rich", "nacl"}} & set(sys.modules)
print(json.dumps([codes, sorted(heavy)]))
"""


def every_command():
    """All command lines below the root, groups and hidden ones included."""
    found = []

    def walk(command, words):
        if words:
            found.append(" ".join(words))
        if isinstance(command, click.Group):
            context = click.Context(command)
            hidden = getattr(command, "hidden_members", {})
            for name in [*command.list_commands(context), *hidden]:
                walk(command.get_command(context, name), [*words, name])

    walk(root.root, [])
    return found


@pytest.fixture
def failing(monkeypatch):
    """Let `darkbloom dev` raise what a test sets."""
    errors = []

    @click.command()
    def command():
        raise errors.pop()

    monkeypatch.setattr(LazyGroup, "get_command", lambda self, ctx, name: command)
    return errors.append


def test_version_and_every_help_import_neither_trio_nor_mlx():
    lines = ["--version", "--help", "-h", *(f"{line} --help" for line in every_command())]
    done = subprocess.run(
        [sys.executable, "-c", LAZY.format(lines=lines)], capture_output=True, text=True, timeout=60, check=True
    )
    codes, heavy = json.loads(done.stdout.splitlines()[-1])
    assert heavy == []
    assert codes == [0] * len(lines)
    assert done.stdout.startswith("darkbloom ")


def processor_seconds(*arguments):
    """Of one start of the interpreter."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_is_quick():
    """At most 100 ms of processor time, best of ten."""
    best = min(processor_seconds("-m", "provider.cli", "--help") for _ in range(10))
    assert best <= 0.1, f"{best * 1000:.0f} ms"


@pytest.mark.parametrize("line", every_command())
def test_every_command_explains_itself_with_an_example(line, capsys):
    assert run([*line.split(), "--help"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"Usage: darkbloom {line} [OPTIONS]")
    assert len(told.splitlines()) > 5
    assert "Example" in told


def test_every_command_has_a_line_in_the_reference():
    page = (ROOT / "docs" / "reference" / "provider-cli.md").read_text()
    hidden = set(root.HIDDEN)
    missing = [line for line in every_command() if line.split()[0] not in hidden and f"`darkbloom {line}" not in page]
    assert missing == []


def test_help_lists_every_command(capsys):
    assert run([]) == 0
    bare = capsys.readouterr().out
    assert run(["--help"]) == 0
    assert capsys.readouterr().out.strip() == bare.strip()
    for name, (_module, text) in COMMANDS.items():
        assert name in bare
        assert text in " ".join(bare.split())


@pytest.mark.parametrize(
    ("line", "hint"),
    [("strat", "Did you mean start?"), ("dve", "Did you mean dev?"), ("xyzzy", "There is no command 'xyzzy'.\n")],
)
def test_unknown_command_is_a_usage_error_that_names_its_neighbour(line, hint, capsys):
    assert run([line]) == 64
    told = capsys.readouterr().err
    assert hint in told
    assert "fix: darkbloom --help" in told


@pytest.mark.parametrize(
    "line", ["--bogus", "dev --bogus", "dev --port x", "dev --port 65536", "start --max-concurrent 0"]
)
def test_wrong_options_are_usage_errors(line, capsys):
    assert run(line.split()) == 64
    assert capsys.readouterr().err.startswith("error: ")


def test_failure_of_a_command_gives_its_sentence_remedy_and_code(failing, capsys):
    failing(CommandFailed("It is broken.", fix="mend it", code=2))
    assert run(["dev"]) == 2
    assert capsys.readouterr().err == "error: It is broken.\n  fix: mend it\n"


def test_failure_inside_nested_groups_gives_its_code(failing, capsys):
    inner = ExceptionGroup("", [ValueError("CANARY"), CommandFailed("It is broken.", code=2)])
    failing(ExceptionGroup("", [OSError("CANARY"), inner]))
    assert run(["dev"]) == 2
    assert capsys.readouterr().err == "error: It is broken.\n"


def test_fault_of_the_program_names_its_place_but_not_its_text(failing, capsys):
    failing(ValueError("CANARY"))
    assert run(["dev"]) == 70
    told = capsys.readouterr().err
    assert "ValueError at " in told
    assert "test_root.py:" in told
    assert "CANARY" not in told


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        BaseExceptionGroup("", [KeyboardInterrupt()]),
        BaseExceptionGroup("", [BaseExceptionGroup("", [SystemExit(1)])]),
    ],
    ids=["plain", "group", "closed-output"],
)
def test_interruption_ends_with_1_and_without_a_traceback(failing, capsys, error):
    failing(error)
    assert run(["dev"]) == 1
    assert "Traceback" not in capsys.readouterr().err
