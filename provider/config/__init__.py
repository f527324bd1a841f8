"""Configuration of the provider."""

from provider.config.load import Configuration, load_configuration
from provider.config.places import Places, config_path
from provider.config.settings import ProviderSettings, load_settings

__all__ = ["Configuration", "Places", "ProviderSettings", "config_path", "load_configuration", "load_settings"]
