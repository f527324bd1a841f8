"""Configuration of the provider."""

from provider.config.settings import ProviderSettings, load_settings

__all__ = ["ProviderSettings", "load_settings"]
