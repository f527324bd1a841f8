"""The public HTTP API: one module per family of endpoints, all built over one record of services."""

from server.api.blueprints import build_blueprints
from server.api.services import ApiServices

__all__ = ["ApiServices", "build_blueprints"]
