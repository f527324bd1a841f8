"""Small files of the provider's home."""

from provider.files.replace import replace_file

__all__ = ["replace_file"]
