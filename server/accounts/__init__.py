"""Who is asking: identities and the directory of API keys."""

from server.accounts.ports import AuthRefusal, Identity, KeyDirectory
from server.accounts.settings_keys import SettingsKeys

__all__ = ["AuthRefusal", "Identity", "KeyDirectory", "SettingsKeys"]
