"""The tree and every import agree with the table of rooms in docs/architecture.md."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
CODE = ("native", "protocol", "server", "provider", "tests", "bench")
ASYNCIO_ALLOWED = {"server/store/postgres.py"}
MLX_ALLOWED = ("provider", "tests", "bench")
ENVIRONMENT_ALLOWED = ("native/", "protocol/settings", "provider/hardening")


def _rooms() -> dict[str, set[str]]:
    rooms: dict[str, set[str]] = {}
    in_table = False
    for line in PAGE.read_text().splitlines():
        if line.startswith("| box |"):
            in_table = True
            continue
        if in_table and not line.startswith("|"):
            break
        if in_table and not line.startswith("|---"):
            _box, folder, _holds, imports = [cell.strip() for cell in line.strip("|").split("|")]
            rooms[folder.strip("`/")] = set(re.findall(r"`(\w+)`", imports))
    return rooms


class _Facts(NamedTuple):
    """What the tests ask of one file, each with its lines."""

    imports: set[tuple[str, int]]
    """The top-level package of every absolute import."""
    environment: list[int]
    """Where `os.environ` or `os.getenv` is used."""


@cache
def _facts(path: Path) -> _Facts:
    found = _Facts(set(), [])
    for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
        match node:
            case ast.Import():
                found.imports.update((alias.name.split(".")[0], node.lineno) for alias in node.names)
            case ast.ImportFrom(level=0, module=str(module)):
                found.imports.add((module.split(".")[0], node.lineno))
            case ast.Attribute(attr="environ" | "getenv", value=ast.Name(id="os")):
                found.environment.append(node.lineno)
    return found


def _sources(room: str) -> list[Path]:
    return sorted(path for path in (ROOT / room).rglob("*.py") if "__pycache__" not in path.parts)


def _where(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_table_names_every_room_of_the_tree() -> None:
    rooms = _rooms()
    assert set(rooms) == {*CODE, "docs"}
    for folder in rooms:
        assert (ROOT / folder).is_dir(), f"{folder}/ is in the table but not in the tree"
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages <= set(CODE), f"packages missing from the table: {packages - set(CODE)}"


@pytest.mark.parametrize("room", CODE)
def test_imports_of_room_follow_the_table(room: str) -> None:
    allowed = _rooms()[room] | {room}
    wrong = [
        f"{_where(path)}:{line} imports {name}"
        for path in _sources(room)
        for name, line in _facts(path).imports
        if name in CODE and name not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def test_asyncio_stays_inside_the_postgresql_engine() -> None:
    wrong = [
        f"{_where(path)}:{line}"
        for room in ("native", "protocol", "server", "provider")
        for path in _sources(room)
        for name, line in _facts(path).imports
        if name in {"asyncio", "trio_asyncio"} and _where(path) not in ASYNCIO_ALLOWED
    ]
    assert not wrong, "\n".join(wrong)


def test_mlx_stays_with_the_provider() -> None:
    wrong = [
        f"{_where(path)}:{line}"
        for room in CODE
        if room not in MLX_ALLOWED
        for path in _sources(room)
        for name, line in _facts(path).imports
        if name in {"mlx", "mlx_lm"}
    ]
    assert not wrong, "\n".join(wrong)


def test_environment_is_read_only_by_settings() -> None:
    wrong = []
    for room in ("native", "protocol", "server", "provider"):
        for path in _sources(room):
            where = _where(path)
            if where.startswith(ENVIRONMENT_ALLOWED) or "/config" in where:
                continue
            wrong += [f"{where}:{line}" for line in _facts(path).environment]
    assert not wrong, "\n".join(wrong)
