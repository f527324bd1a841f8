"""A copy of the persistent-data directory for another machine or a safe: consistent, and encrypted with age."""

from server.state_export.capture import ExportFailed
from server.state_export.export import ExportBusy, SealedArchive, StateExport
from server.state_export.seal import RecipientUnusable

__all__ = ["ExportBusy", "ExportFailed", "RecipientUnusable", "SealedArchive", "StateExport"]
