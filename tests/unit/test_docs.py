"""What the pages say can be found: links, headings, files, tests, settings, targets and commands that they name."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import click

from provider.cli.root import root as provider_program
from server.cli.main import cli as coordinator_program

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
PROGRAMS: dict[str, click.Command] = {"darkbloom": provider_program, "darkbloom-coordinator": coordinator_program}
ROOMS = ("bench", "native", "protocol", "provider", "scripts", "server", "tests")

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_SETTING = re.compile(r"DARKBLOOM_[A-Z0-9_]+")


def _prose(page: Path) -> str:
    """The page without its code blocks."""
    return _FENCE.sub("", page.read_text())


def _blocks(page: Path, *languages: str) -> Iterator[str]:
    return (body for language, body in _FENCE.findall(page.read_text()) if language in languages)


def _assert_none(find: Callable[[Path], list[str]]) -> None:
    """Fail with every page's findings at once."""
    found = {page.relative_to(ROOT).as_posix(): wrong for page in PAGES if (wrong := find(page))}
    assert not found, "\n".join(f"{page}: {', '.join(wrong)}" for page, wrong in found.items())


# ---- links ----


@cache
def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ +(.*)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _dead_links(page: Path) -> list[str]:
    wrong = []
    for link in _LINK.findall(_prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            wrong.append(link)
    return wrong


def test_links_lead_somewhere() -> None:
    _assert_none(_dead_links)


def test_every_page_is_in_the_table_of_contents() -> None:
    contents = DOCS / "README.md"
    linked = {(DOCS / link).resolve() for link in _LINK.findall(contents.read_text())}
    pages = [page for page in PAGES if page.is_relative_to(DOCS) and page != contents]
    assert [page.name for page in pages if not {page, page.parent} & linked] == []


# ---- files and tests ----


def _missing_files(page: Path) -> list[str]:
    form = re.compile(rf"({'|'.join((*ROOMS, 'docs'))})/(?!.*test_)[\w./-]+")
    return [word for word in _CODE.findall(_prose(page)) if form.fullmatch(word) and not (ROOT / word).exists()]


def test_named_files_exist() -> None:
    _assert_none(_missing_files)


@cache
def _test_files() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        found.setdefault(path.name, []).append(path)
    return found


@cache
def _functions(path: Path) -> set[str]:
    return set(re.findall(r"^\s*(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE))


def _cited_tests(line: str) -> Iterator[tuple[str, str]]:
    """(file, function or nothing) of each test that a line names; `::name` alone belongs to the file before it."""
    file = ""
    for word in _CODE.findall(line):
        cited = re.fullmatch(r"((?:[\w.-]+/)*test_\w+\.py)?(?:::(test_\w+)(?:\[.*\])?)?", word)
        if cited is None or not (cited[1] or (cited[2] and file)):
            continue
        file = cited[1] or file
        yield file, cited[2] or ""


def _missing_tests(page: Path) -> list[str]:
    wrong = []
    for line in _prose(page).splitlines():
        for file, function in _cited_tests(line):
            files = [
                path for path in _test_files().get(file.rpartition("/")[2], []) if path.as_posix().endswith(f"/{file}")
            ]
            if not files or (function and not any(function in _functions(path) for path in files)):
                wrong.append(f"{file}::{function}")
    return wrong


def test_cited_tests_exist() -> None:
    _assert_none(_missing_tests)


# ---- settings, targets, commands ----


@cache
def _known_settings() -> set[str]:
    """Every setting that code or scripts speak of, or that a generated table of settings lists."""
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*") if path.suffix in {".py", ".sh"}]
    tables = [DOCS / "reference" / name for name in ("settings.md", "provider-settings.md")]
    return {name for path in (*files, *tables) for name in _SETTING.findall(path.read_text())}


def _unknown_settings(page: Path) -> list[str]:
    known = _known_settings()
    # A table of acceptance marks with ∅ what was left out on purpose.
    text = re.sub(r"^\| ∅ .*$|DARKBLOOM_[A-Z0-9_]+…", "", page.read_text(), flags=re.MULTILINE)
    named = set(_SETTING.findall(text))
    return sorted(name for name in named if name not in known and name.removesuffix("_FILE") not in known)


def test_named_settings_exist() -> None:
    _assert_none(_unknown_settings)


def test_named_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    texts = {page: "\n".join([*_blocks(page, "sh"), *_CODE.findall(_prose(page))]) for page in PAGES}
    texts |= {path: path.read_text() for path in (ROOT / ".ci" / "run", *(ROOT / ".github").rglob("*.yml"))}
    for path, text in texts.items():
        assert set(re.findall(r"(?:^|[ \t])make ([a-z-]+)", text, re.MULTILINE)) <= targets, path


def _command_lines(page: Path) -> Iterator[list[str]]:
    """The words of every command of ours in the page's shell samples."""
    for block in _blocks(page, "sh", "bash", "console", ""):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"\s*(?:;|&&|\|)\s*", re.split(r"(?:^|\s)#", line)[0].removeprefix("$ ")):
                words = re.sub(r"^(?:[A-Z_]+=\S*\s+)+", "", part).partition(">")[0]
                if words.split()[:1] and words.split()[0] in PROGRAMS:
                    yield shlex.split(words)


def _misunderstood(page: Path) -> list[str]:
    wrong = []
    for program, *rest in _command_lines(page):
        command, context = PROGRAMS[program], click.Context(PROGRAMS[program])
        try:
            while isinstance(command, click.Group) and rest and rest[0][0] != "-":
                _, found, rest = command.resolve_command(context, rest)
                assert found is not None
                command, context = found, click.Context(found, parent=context)
        except click.UsageError as error:
            wrong.append(error.format_message())
            continue
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        known |= {"-h", "--help"}
        wrong += [f"{command.name} {word}" for word in rest if word[0] == "-" and word.partition("=")[0] not in known]
    return wrong


def test_commands_of_samples_are_understood() -> None:
    _assert_none(_misunderstood)


def test_options_of_the_reference_are_those_of_the_commands() -> None:
    page = (DOCS / "reference" / "provider-cli.md").read_text()
    for line, cell in re.findall(r"^\| `darkbloom ([a-z -]+)[^`]*` \|.*\| ([^|]*) \|$", page, re.MULTILINE):
        command: click.Command | None = provider_program
        for name in line.split():
            assert isinstance(command, click.Group)
            command = command.get_command(click.Context(command), name)
        assert command is not None, line
        options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
        real = {one.opts[-1] for one in options}
        shown = {word for word in _CODE.findall(cell) if word.startswith("--")}
        assert not shown or shown == real, line


def test_python_samples_are_python() -> None:
    for page in PAGES:
        for block in _blocks(page, "python"):
            ast.parse(block, filename=str(page))
