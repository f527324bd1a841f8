"""The private directory for temporary files; in children, because the variable stays."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]


def child(home, **environment):
    code = f"""
import json, os, sys, tempfile
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from provider.hardening.temporary import use_private_temporary
done = use_private_temporary(Path({str(home)!r}))
print(json.dumps([done, os.environ.get("TMPDIR"), tempfile.gettempdir()]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    return json.loads(done.stdout)


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def test_libraries_get_an_empty_directory_of_their_own_and_python_keeps_its(home, tmp_path):
    (home / "tmp").mkdir(mode=0o777)
    (home / "tmp" / "planted.so").write_text("evil")
    assert child(home, TMPDIR=str(tmp_path)) == [True, str(home / "tmp"), str(tmp_path)]
    assert list((home / "tmp").iterdir()) == []
    assert (home / "tmp").stat().st_mode & 0o777 == 0o700


def test_planted_link_is_removed_and_not_followed(home, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("stays")
    (home / "tmp").symlink_to(tmp_path / "elsewhere")
    assert child(home)[0] is True
    assert not (home / "tmp").is_symlink()
    assert (tmp_path / "elsewhere" / "file").read_text() == "stays"


def test_home_that_cannot_be_used_changes_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    assert child(tmp_path / "file", TMPDIR=str(tmp_path)) == [False, str(tmp_path), str(tmp_path)]
