"""The provider's configuration from all its sources: command line, environment, `provider.toml`, defaults."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from protocol.settings import Form, Layer, Loaded, SettingsError, declared_settings, load
from provider.config.file import FileContent, read_config_file
from provider.config.places import Places, config_path
from provider.config.settings import KNOWN_ELSEWHERE, ProviderSettings


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings, and where they came from. `warnings` are full sentences."""

    settings: ProviderSettings
    loaded: Loaded[ProviderSettings]
    file: FileContent
    warnings: tuple[str, ...]

    @property
    def places(self) -> Places:
        """Files of the provider's home."""
        return Places(self.settings.state_directory)

    @property
    def state_file(self) -> Path:
        """Where the daemon writes its state."""
        return self.settings.state_file or self.places.state_file


def load_configuration(
    *,
    path: Path | None = None,
    overrides: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Configuration:
    """Read everything; `path` wins over `DARKBLOOM_CONFIG`, `overrides` over the environment, and that over the file.

    Raises `SettingsError` with all problems of all sources at once.
    """
    values = os.environ if environment is None else environment
    file = read_config_file(path or config_path(values), setting_forms())
    layers = [
        Layer("command line", overrides or {}),
        Layer("environment", values),
        Layer(str(file.path), file.values),
    ]
    try:
        loaded = load(ProviderSettings, layers, known_elsewhere=KNOWN_ELSEWHERE)
    except SettingsError as error:
        raise SettingsError([*file.problems, *error.problems]) from None
    if file.problems:
        raise SettingsError(file.problems)
    return Configuration(loaded.settings, loaded, file, (*file.warnings, *loaded.warnings))


def setting_forms() -> dict[str, Form[object]]:
    """Give the form of every setting by its full name."""
    return {declared.name: declared.form for declared in declared_settings(ProviderSettings).values()}
