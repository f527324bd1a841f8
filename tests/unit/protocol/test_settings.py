"""Typed settings: forms, all errors at once, secrets, unknown names, reference."""

from collections.abc import Iterable, Mapping
from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path

import pytest

from protocol import settings as s
from protocol.settings import Form, HostPort, Layer, Loaded, Network, Secret, SettingsError, load, setting


@dataclass(frozen=True)
class Sample:
    """Settings of the tests."""

    port: int = setting("PORT", s.integer(1, 65535), default=8080, meaning="Listening port.", group="server")
    min_trust: str = setting(
        "MIN_TRUST", s.choice("none", "self_signed", "hardware"), default="hardware", meaning="Floor."
    )
    grace: float = setting("DRAIN_GRACE", s.duration(), default=600.0, meaning="Drain | grace.")
    admin_keys: tuple[Secret, ...] = setting("ADMIN_KEYS", s.secrets(), default=(), meaning="Keys.")
    database_url: Secret | None = setting("DATABASE_URL", s.secret(), default=None, meaning="Database.")
    allow_memory: bool = setting("ALLOW_MEMORY_STORE", s.boolean(), default=False, meaning="Permission.")
    site: str = setting("DD_SITE", s.text(), default="", meaning="Datadog.", prefix="")

    def check(self) -> Iterable[str]:
        if self.database_url is None and not self.allow_memory:
            yield "Refusing to start with a store that does not survive a restart; set DARKBLOOM_DATABASE_URL."


GOOD = {"DARKBLOOM_ALLOW_MEMORY_STORE": "yes"}


def loaded(values: Mapping[str, str], **arguments: object) -> Loaded[Sample]:
    return load(Sample, [Layer("environment", values)], **arguments)  # type: ignore[arg-type]


def problems(values: Mapping[str, str], **arguments: object) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        loaded(values, **arguments)
    return caught.value.problems


def test_defaults_and_sources() -> None:
    result = loaded(GOOD | {"DARKBLOOM_PORT": "9000", "DD_SITE": "eu"})
    assert (result.settings.port, result.settings.grace, result.settings.site) == (9000, 600.0, "eu")
    assert result.sources["DARKBLOOM_PORT"] == "environment"
    assert result.sources["DARKBLOOM_DRAIN_GRACE"] == "default"
    assert result.warnings == ()
    with pytest.raises(FrozenInstanceError):
        result.settings.port = 1  # type: ignore[misc]


def test_earlier_layer_wins_and_empty_text_is_not_set() -> None:
    layers = [
        Layer("environment", {"DARKBLOOM_PORT": "1", "DARKBLOOM_MIN_TRUST": "  "}),
        Layer("config.toml", GOOD | {"DARKBLOOM_PORT": "2", "DARKBLOOM_MIN_TRUST": "none"}),
    ]
    result = load(Sample, layers)
    assert (result.settings.port, result.settings.min_trust) == (1, "none")
    assert result.sources["DARKBLOOM_MIN_TRUST"] == "config.toml"


def test_bad_choice_names_setting_value_and_accepted_form() -> None:
    assert problems(GOOD | {"DARKBLOOM_MIN_TRUST": "hardwear"}) == (
        "DARKBLOOM_MIN_TRUST=hardwear is not accepted; write one of: none, self_signed, hardware.",
    )


def test_all_errors_come_at_once_cross_rules_included() -> None:
    found = problems({"DARKBLOOM_MIN_TRUST": "x", "DARKBLOOM_PORT": "0"})
    assert len(found) == 3
    assert [text.split("=")[0] for text in found[:2]] == ["DARKBLOOM_PORT", "DARKBLOOM_MIN_TRUST"]
    assert "does not survive a restart" in found[2]


def test_unknown_name_is_a_warning_with_the_nearest_known_one() -> None:
    result = loaded(GOOD | {"DARKBLOOM_PROT": "1", "DARKBLOOM_ZZZZZZ": "1", "PATH": "x"})
    assert result.warnings == (
        "unknown setting DARKBLOOM_PROT (did you mean DARKBLOOM_PORT?)",
        "unknown setting DARKBLOOM_ZZZZZZ",
    )


def test_names_of_the_other_side_draw_no_warning() -> None:
    assert loaded(GOOD | {"DARKBLOOM_NATIVE": "0"}, known_elsewhere=["DARKBLOOM_NATIVE"]).warnings == ()
    assert loaded(GOOD | {"DARKBLOOM_DATABASE_URL_FILE": "x"}, read_file=lambda path: "y").warnings == ()


def test_secret_is_read_from_a_file_and_hidden_everywhere(tmp_path: Path) -> None:
    file = tmp_path / "dsn"
    file.write_text("postgresql://user:hunter2@host/db\n")
    result = loaded({"DARKBLOOM_DATABASE_URL_FILE": str(file), "DARKBLOOM_ADMIN_KEYS": "hunter2, hunter3"})
    dsn = result.settings.database_url
    assert dsn is not None
    assert dsn.reveal() == "postgresql://user:hunter2@host/db"
    assert [key.reveal() for key in result.settings.admin_keys] == ["hunter2", "hunter3"]
    shown = repr(result) + repr(dsn) + str(dsn) + repr(s.effective_values(result))
    assert "hunter" not in shown
    listing = {name: (value, source) for name, value, source in s.effective_values(result)}
    assert listing["DARKBLOOM_DATABASE_URL"] == ("(hidden)", f"environment, file {file}")
    assert listing["DARKBLOOM_PORT"] == ("8080", "default")
    assert listing["DARKBLOOM_DRAIN_GRACE"] == ("10m", "default")


def test_secret_and_its_file_exclude_each_other() -> None:
    found = problems(GOOD | {"DARKBLOOM_DATABASE_URL": "x", "DARKBLOOM_DATABASE_URL_FILE": "/x"})
    assert found == ("DARKBLOOM_DATABASE_URL and DARKBLOOM_DATABASE_URL_FILE are both set; keep one of them.",)


def test_missing_and_empty_secret_files_are_problems(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert problems(GOOD | {"DARKBLOOM_DATABASE_URL_FILE": str(missing)}) == (
        f"DARKBLOOM_DATABASE_URL_FILE={missing} cannot be read; name a readable text file.",
    )
    (tmp_path / "empty").write_text("\n")
    found = problems(GOOD | {"DARKBLOOM_DATABASE_URL_FILE": str(tmp_path / "empty")})
    assert found == (
        "DARKBLOOM_DATABASE_URL is not accepted; write a secret text, or NAME_FILE with the path of a file.",
    )


def test_plain_settings_have_no_file_form() -> None:
    result = loaded(GOOD | {"DARKBLOOM_PORT_FILE": "/x"})
    assert result.settings.port == 8080
    assert result.warnings == ("unknown setting DARKBLOOM_PORT_FILE (did you mean DARKBLOOM_PORT?)",)


@dataclass(frozen=True)
class Demanding:
    """A record with a setting that has no default."""

    url: str = setting("COORDINATOR_URL", s.url("ws", "wss"), meaning="Where to connect.")
    other: int = setting("COUNT", s.integer(0, 9), default=1, meaning="Count.")


def test_required_setting() -> None:
    with pytest.raises(SettingsError) as caught:
        load(Demanding, [Layer("environment", {"DARKBLOOM_COUNT": "x"})])
    assert caught.value.problems == (
        "DARKBLOOM_COORDINATOR_URL is required; write a URL such as ws://host or wss://host.",
        "DARKBLOOM_COUNT=x is not accepted; write a whole number from 0 to 9.",
    )
    with pytest.raises(SettingsError) as caught:
        load(Demanding, [Layer("environment", {"DARKBLOOM_COORDINATOR_URL": "http://x"})])
    assert caught.value.problems == (
        "DARKBLOOM_COORDINATOR_URL=http://x is not accepted; write a URL such as ws://host or wss://host.",
    )
    assert load(Demanding, [Layer("e", {"DARKBLOOM_COORDINATOR_URL": "wss://x/ws"})]).settings.url == "wss://x/ws"


def test_reference_table() -> None:
    table = s.reference_table(Sample)
    assert table.startswith("### server\n\n| Setting | Form | Default | Meaning |\n|---|---|---|---|\n")
    assert "| `DARKBLOOM_PORT` | a whole number from 1 to 65535 | `8080` | Listening port. |" in table
    assert "| `10m` | Drain \\| grace. |" in table
    assert "| `DD_SITE` | text | `(unset)` | Datadog. |" in table
    assert "required" in s.reference_table(Demanding)


def test_names_hold_the_file_form_of_secrets() -> None:
    names = s.names_of(Sample)
    assert {"DARKBLOOM_PORT", "DARKBLOOM_DATABASE_URL_FILE", "DD_SITE"} <= names
    assert "DARKBLOOM_PORT_FILE" not in names


def networks(*texts: str) -> tuple[Network, ...]:
    return s.networks().parse(",".join(texts))


@pytest.mark.parametrize(
    ("form", "written", "value", "shown"),
    [
        (s.integer(-5, 10), "-5", -5, "-5"),
        (s.number(0, 1), "0.25", 0.25, "0.25"),
        (s.boolean(), "ON", True, "true"),
        (s.boolean(), "0", False, "false"),
        (s.duration(), "500ms", 0.5, "500ms"),
        (s.duration(), "250ms", 0.25, "250ms"),
        (s.duration(), "90s", 90.0, "90s"),
        (s.duration(), "5m", 300.0, "5m"),
        (s.duration(), "1.5h", 5400.0, "90m"),
        (s.duration(), "14d", 1_209_600.0, "14d"),
        (s.duration(), "0s", 0.0, "0s"),
        (s.size(), "16 MiB", 16 * 2**20, "16 MiB"),
        (s.size(), "64KiB", 65_536, "64 KiB"),
        (s.size(), "1000", 1000, "1000"),
        (s.words(), " a, b,,c ", ("a", "b", "c"), "a,b,c"),
        (s.networks(), "127.0.0.0/8, ::1/128", networks("127.0.0.0/8", "::1/128"), "127.0.0.0/8,::1/128"),
        (s.pairs(":", s.number(0, 10)), "gpt-oss:1.3,b:2", {"gpt-oss": 1.3, "b": 2.0}, "gpt-oss:1.3,b:2"),
        (s.pairs("=", s.text()), "a:b=c", {"a:b": "c"}, "a:b=c"),
        (s.url("https"), "https://x/y", "https://x/y", "https://x/y"),
        (s.path(), "/var/lib", Path("/var/lib"), "/var/lib"),
        (s.host_port(), "127.0.0.1:90", HostPort("127.0.0.1", 90), "127.0.0.1:90"),
        (s.host_port(), "[::1]:90", HostPort("::1", 90), "[::1]:90"),
        (s.version(), "0.6.31-rc.1", "0.6.31-rc.1", "0.6.31-rc.1"),
        (s.timestamp(), "1970-01-01T01:01:00+01:00", 60.0, "1970-01-01T00:01:00Z"),
        (s.choice("a", "b"), "b", "b", "b"),
    ],
)
def test_form_reads_and_shows(form: Form[object], written: str, value: object, shown: str) -> None:
    parsed = form.parse(written)
    assert parsed == value
    assert form.show(parsed) == shown
    assert form.parse(form.show(parsed)) == value


@pytest.mark.parametrize(
    ("form", "written"),
    [
        (s.integer(0, 10), "11"),
        (s.integer(0, 10), "1.0"),
        (s.integer(0, 10), "1_0"),
        (s.integer(0, 10), "٣"),
        (s.number(0, 1), "nan"),
        (s.number(0, 1), "inf"),
        (s.number(0, 1), "1e-1"),
        (s.number(0, 1), "1.1"),
        (s.boolean(), "maybe"),
        (s.duration(), "5"),
        (s.duration(), "5 m"),
        (s.duration(), "-5s"),
        (s.duration(), "1h30m"),
        (s.duration(1, 60), "61s"),
        (s.size(), "16 MB"),
        (s.size(), "1.5 MiB"),
        (s.size(0, 10), "11"),
        (s.choice("a"), "A"),
        (s.networks(), "10.0.0.1/8"),
        (s.networks(), "host"),
        (s.pairs(":", s.number(0, 10)), "a"),
        (s.pairs(":", s.number(0, 10)), ":1"),
        (s.pairs(":", s.number(0, 10)), "a:1,a:2"),
        (s.pairs(":", s.number(0, 10)), "a:x"),
        (s.url("https"), "http://x"),
        (s.url("https"), "https://"),
        (s.url("https"), "https://x y"),
        (s.host_port(), "host"),
        (s.host_port(), ":90"),
        (s.host_port(), "::1:90"),
        (s.host_port(), "host:70000"),
        (s.version(), "latest"),
        (s.timestamp(), "tomorrow"),
        (s.text(), ""),
        (s.path(), ""),
    ],
)
def test_form_refuses(form: Form[object], written: str) -> None:
    with pytest.raises(ValueError):
        form.parse(written)


def test_long_value_is_shown_shortened() -> None:
    found = problems(GOOD | {"DARKBLOOM_PORT": "9" * 5000})
    assert len(found[0]) < 400


def test_secrets_compare_by_value() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert len({Secret("a"), Secret("a")}) == 1
