"""The tree and every import agree with the table of rooms in docs/architecture.md."""

from __future__ import annotations

import ast
import re
from pathlib import Path

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


def _imports(path: Path) -> set[tuple[str, int]]:
    """Return (top-level package, line) for every absolute import of a file."""
    found: set[tuple[str, int]] = set()
    for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
        if isinstance(node, ast.Import):
            found |= {(alias.name.split(".")[0], node.lineno) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add((node.module.split(".")[0], node.lineno))
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
        for name, line in _imports(path)
        if name in CODE and name not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def test_asyncio_stays_inside_the_postgresql_engine() -> None:
    wrong = [
        f"{_where(path)}:{line}"
        for room in ("native", "protocol", "server", "provider")
        for path in _sources(room)
        for name, line in _imports(path)
        if name in {"asyncio", "trio_asyncio"} and _where(path) not in ASYNCIO_ALLOWED
    ]
    assert not wrong, "\n".join(wrong)


def test_mlx_stays_with_the_provider() -> None:
    wrong = [
        f"{_where(path)}:{line}"
        for room in CODE
        if room not in MLX_ALLOWED
        for path in _sources(room)
        for name, line in _imports(path)
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
            wrong += [
                f"{where}:{node.lineno}"
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Attribute)
                and node.attr in {"environ", "getenv"}
                and isinstance(node.value, ast.Name)
                and node.value.id == "os"
            ]
    assert not wrong, "\n".join(wrong)
