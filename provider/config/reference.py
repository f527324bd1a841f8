"""The reference page of the provider's settings, as kept in docs/reference/provider-settings.md."""

from typing import Final

from protocol.settings import PREFIX, reference_table
from provider.config.file_keys import FILE_KEYS, WINDOWS_ACCEPTED, WINDOWS_KEY
from provider.config.settings import ProviderSettings

_PREAMBLE: Final = """# Settings of the provider

Generated from `provider/config/`; a test keeps both alike. A value comes from the command line, else from the
environment, else from `provider.toml`, else from the default. `darkbloom config show` prints the effective values with
their sources, `darkbloom config path` the place of the file (`~/.config/darkbloom/provider.toml`, or what
`DARKBLOOM_CONFIG` names).

## The file `provider.toml`

A missing file means defaults, an unknown key is a warning with its line, a wrong value ends the command with exit code
2 and its line. `darkbloom config set` keeps comments and writes nothing that was not set.

| Key | Value | Setting |
|---|---|---|
"""


def settings_page() -> str:
    """Return the whole page."""
    rows = [("`config_version`", "1", "–")]
    rows += [(f"`{key.name}`", key.accepted, f"`{PREFIX}{key.setting}`") for key in FILE_KEYS.values()]
    rows.append((f"`{WINDOWS_KEY}`", WINDOWS_ACCEPTED, f"`{PREFIX}SCHEDULE`"))
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    return f"{_PREAMBLE}{table}\n\n## All settings\n\n{reference_table(ProviderSettings)}"
