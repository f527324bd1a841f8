"""The public HTTP API: one module per family of endpoints, all built over one record of services."""

from server.api.blueprints import build_blueprints, build_endpoints
from server.api.call import Call, Endpoint, WholeAnswer
from server.api.services import ApiServices

__all__ = ["ApiServices", "Call", "Endpoint", "WholeAnswer", "build_blueprints", "build_endpoints"]
