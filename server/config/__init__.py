"""Configuration of the coordinator."""

from server.config.settings import CoordinatorSettings, load_settings, settings_page

__all__ = ["CoordinatorSettings", "load_settings", "settings_page"]
