"""Program code inside a model folder is never run, whatever the configuration asks for."""

import json
import shutil

import pytest

from provider.models.hub import ModelFolder
from provider.models.load import LoadFailed, load_model
from provider.models.scan import inspect_folder

EVIL = "import pathlib; pathlib.Path({!r}).write_text('run')\nclass Evil: pass\n"


@pytest.fixture
def folder(tiny_directory, tmp_path):
    copy = tmp_path / "models--org--evil" / "snapshots" / "x"
    shutil.copytree(tiny_directory, copy)
    for name in ("evil.py", "tokenization_evil.py", "modeling_evil.py", "conftest.py"):
        (copy / name).write_text(EVIL.format(str(tmp_path / "marker")))
    return copy


def add(path, members):
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))


def test_code_that_lies_beside_the_weights_is_not_run(folder, tmp_path):
    assert load_model("evil", folder).model_id == "evil"
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("file", "members"),
    [
        ("config.json", {"auto_map": {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "modeling_evil.Evil"}}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["tokenization_evil.Evil", None]}}),
        (
            "tokenizer_config.json",
            {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}},
        ),
        ("config.json", {"model_file": "evil.py"}),
    ],
)
def test_code_that_the_configuration_names_is_not_run(folder, tmp_path, file, members, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question on the terminal"))
    add(folder / file, members)
    try:
        load_model("evil", folder)
    except LoadFailed:
        pass
    assert not (tmp_path / "marker").exists()


def test_model_that_needs_its_own_code_is_not_offered(folder, tmp_path):
    add(folder / "config.json", {"model_file": "evil.py"})
    model = inspect_folder(ModelFolder("org/evil", tmp_path / "models--org--evil"))
    assert (model.state, model.reason) == ("unsupported", "it needs program code of its own, which is never run")
