"""The description of the HTTP API: operations declared as typed records, the OpenAPI document, the reference page."""

from server.openapi.document import build_document
from server.openapi.operation import Also, Auth, OneOf, Operation, Parameter
from server.openapi.page import ReferencePage

__all__ = ["Also", "Auth", "OneOf", "Operation", "Parameter", "ReferencePage", "build_document"]
