"""The reference page says what the code says."""

from pathlib import Path

from protocol.settings import names_of
from provider.config import ProviderSettings
from provider.config.reference import settings_page

PAGE = Path(__file__).parents[4] / "docs" / "reference" / "provider-settings.md"


def test_reference_page_is_up_to_date():
    assert PAGE.read_text() == settings_page(), (
        "write it anew: python -c 'from provider.config.reference import settings_page as p; print(p(), end=\"\")' "
        "> docs/reference/provider-settings.md"
    )


def test_reference_page_names_every_setting():
    assert all(name.removesuffix("_FILE") in settings_page() for name in names_of(ProviderSettings))
