"""What is wrong with published files; apart from those who fetch them, whose HTTP client takes 0.1 s to import."""

from __future__ import annotations


class NotPublished(ValueError):
    """The manifest or a file is not there as it should be; the text says what to do."""


class ArtefactRefused(ValueError):
    """The bundle is not there, or not what the release says; the text says what is wrong."""
