"""How models are run: keys of the file, and what is refused."""

import pytest

from protocol.settings import SettingsError
from provider.config import load_configuration
from provider.config.edit import change_config


def read(tmp_path, text, environment=None):
    path = tmp_path / "provider.toml"
    path.write_text(text)
    return load_configuration(path=path, environment=environment or {})


def test_every_key_reaches_its_setting(tmp_path):
    found = read(
        tmp_path,
        """
[backend]
model = "org/one"
startup_selftest = false
startup_selftest_fail_closed = true
prefill_step = 512
prefix_cache = false
trust_remote_code = false
[backend.max_concurrent_by_model]
"org/one" = 2
"org/two" = 16
""",
    )
    settings = found.settings
    assert found.warnings == ()
    assert settings.max_concurrent_by_model == {"org/one": 2, "org/two": 16}
    assert (settings.preferred_model, settings.prefill_step, settings.prefix_cache) == ("org/one", 512, False)
    assert (settings.startup_selftest, settings.startup_selftest_fail_closed) == (False, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[backend]\ntrust_remote_code = true", ":2: backend.trust_remote_code must be false (program code"),
        ("[backend]\nprefill_step = 8", "DARKBLOOM_PREFILL_STEP is 8; write at least 32"),
        ("[backend]\nprefill_step = 9000", ":2: backend.prefill_step must be a whole number from 32"),
        ("[backend]\nmax_concurrent_by_model = {a = 25}", r":2: backend.max_concurrent_by_model must be a table"),
        ('[backend]\nmax_concurrent_by_model = {a = "2"}', r":2: backend.max_concurrent_by_model must be a table"),
        ("[backend]\nmax_concurrent_by_model = 3", r":2: backend.max_concurrent_by_model must be a table"),
        ('[provider]\nupdate_keys = ["abc"]', ":2: provider.update_keys must be"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_line(tmp_path, text, words):
    with pytest.raises(SettingsError) as error:
        read(tmp_path, text)
    assert words in str(error.value)


def test_code_of_models_is_refused_from_the_environment_too(tmp_path):
    with pytest.raises(SettingsError, match="DARKBLOOM_TRUST_REMOTE_CODE"):
        read(tmp_path, "", {"DARKBLOOM_TRUST_REMOTE_CODE": "1"})
    assert read(tmp_path, "", {"DARKBLOOM_TRUST_REMOTE_CODE": "off"}).settings.trust_remote_code is False


def test_a_table_is_written_and_read_back(tmp_path):
    path = tmp_path / "provider.toml"
    path.write_text("[backend]\nport = 8001  # ours\n")
    change_config(path, {"backend.max_concurrent_by_model": {"org/one": 2}})
    settings = load_configuration(path=path, environment={}).settings
    assert (settings.max_concurrent_by_model, settings.local_port) == ({"org/one": 2}, 8001)
    assert "# ours" in path.read_text()
