"""`provider.toml`: values, faults with their lines, and changes that keep what people wrote."""

import stat
import threading

import pytest

from protocol.settings import SettingsError
from provider.config import load_configuration
from provider.config.edit import EditRefused, change_config
from provider.config.file_keys import FILE_KEYS
from provider.config.load import setting_forms
from provider.schedule.windows import show_schedule


def configuration(tmp_path, text=None, environment=None, overrides=None):
    path = tmp_path / "provider.toml"
    if text is not None:
        path.write_text(text)
    return load_configuration(path=path, environment=environment or {}, overrides=overrides)


def test_every_key_writes_a_setting_that_exists():
    forms = setting_forms()
    assert all(f"DARKBLOOM_{key.setting}" in forms for key in FILE_KEYS.values())


def test_a_missing_file_means_defaults(tmp_path):
    found = configuration(tmp_path)
    assert not found.file.exists
    assert (found.settings.max_concurrent, found.settings.local_port) == (8, 8000)
    assert found.warnings == ()


def test_values_of_all_kinds_are_read(tmp_path):
    found = configuration(
        tmp_path,
        """
config_version = 1
[provider]
name = "attic"
memory_reserve_gb = 2.5
[backend]
idle_timeout_mins = 30
enabled_models = ["org/one", "two"]
startup_preload = false
[coordinator]
url = "wss://example.org"
heartbeat_interval_secs = 2
[schedule]
windows = [
  {days = ["mon", "Friday"], start = "20:00", end = "07:00"},
  {days = "weekend", start = "9:00", end = "18:00"},
]
""",
    ).settings
    assert (found.provider_name, found.memory_reserve_gb, found.idle_timeout) == ("attic", 2.5, 1800)
    assert found.enabled_models == ("org/one", "two")
    assert (found.startup_preload, found.coordinator_url, found.heartbeat_interval) == (False, "wss://example.org", 2)
    assert show_schedule(found.schedule) == "mon,fri 20:00-07:00; sat,sun 09:00-18:00"


def test_the_environment_wins_over_the_file_and_an_option_over_both(tmp_path):
    text = "[backend]\nmax_concurrent = 3\nmax_model_slots = 2\n"
    found = configuration(tmp_path, text, {"DARKBLOOM_MAX_CONCURRENT": "5"}, {"DARKBLOOM_MAX_MODEL_SLOTS": "1"})
    assert (found.settings.max_concurrent, found.settings.max_model_slots) == (5, 1)
    assert found.loaded.sources["DARKBLOOM_MAX_CONCURRENT"] == "environment"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[backend]\n\nmax_model_slots = true\n", ":3: backend.max_model_slots must be a whole number from 1 to 8."),
        ("[backend]\nmax_model_slots = 9\n", ":2: backend.max_model_slots must be a whole number from 1 to 8."),
        ("[backend]\nenabled_models = 'x'\n", ":2: backend.enabled_models must be a list of texts"),
        ("[coordinator]\nurl = 'nonsense'\n", ":2: coordinator.url must be a URL"),
        ("[backend\n", ":1: this is not TOML"),
        ("a = 1\nb = \n", ":2: this is not TOML"),
        ("config_version = 2\n", ":1: config_version must be 1"),
        ("[schedule]\nwindows = 'mon'\n", ":2: schedule.windows must be a list of windows"),
    ],
)
def test_a_fault_is_named_with_file_and_line(tmp_path, text, told):
    with pytest.raises(SettingsError) as refused:
        configuration(tmp_path, text)
    assert f"{tmp_path / 'provider.toml'}{told}" in str(refused.value)


def test_all_faults_of_file_and_environment_come_at_once(tmp_path):
    text = "[backend]\nmax_model_slots = 9\nmax_concurrent = 'x'\n"
    with pytest.raises(SettingsError) as refused:
        configuration(tmp_path, text, {"DARKBLOOM_LOCAL_PORT": "-1"})
    assert len(refused.value.problems) == 3


def test_unknown_keys_and_malformed_windows_are_warnings(tmp_path):
    found = configuration(
        tmp_path,
        """[backend]
max_model_slot = 2
[schedule]
windows = [{days = ["mon"], start = "20:00", end = "20:00"}, {days = ["tue"], start = "08:00", end = "09:00"}, {}]
""",
    )
    first, second, third = found.warnings
    assert ":2: unknown key backend.max_model_slot (did you mean backend.max_model_slots?)" in first
    assert ":4: window 1 is skipped. The window 20:00-20:00 starts when it ends" in second
    assert "window 3 is skipped. It needs days, start and end." in third
    assert show_schedule(found.settings.schedule) == "tue 08:00-09:00"


COMMENTED = """# my machine
[backend]  # the engine
max_concurrent = 4  # fast enough
unknown = "stays"

[other]
thing = 1
"""


def test_a_change_keeps_comments_and_unknown_keys_and_freezes_no_default(tmp_path):
    path = tmp_path / "sub" / "provider.toml"
    path.parent.mkdir()
    path.write_text(COMMENTED)
    change_config(path, {"backend.max_concurrent": 6, "provider.name": "attic", "backend.port": None})
    text = path.read_text()
    assert "# my machine" in text
    assert "max_concurrent = 6  # fast enough" in text
    assert 'unknown = "stays"' in text
    assert 'name = "attic"' in text
    assert "port" not in text
    assert "max_model_slots" not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    change_config(path, {"provider.name": None})
    assert "attic" not in path.read_text()


def test_a_change_of_a_broken_file_is_refused_and_leaves_it(tmp_path):
    path = tmp_path / "provider.toml"
    path.write_text("[broken\n")
    with pytest.raises(EditRefused, match="is not TOML"):
        change_config(path, {"provider.name": "x"})
    assert path.read_text() == "[broken\n"


def test_changes_at_once_lose_nothing(tmp_path):
    path = tmp_path / "provider.toml"
    keys = [f"backend.k{number}" for number in range(12)]
    threads = [threading.Thread(target=change_config, args=(path, {key: 1})) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(f"k{number} = 1" in path.read_text() for number in range(12))
