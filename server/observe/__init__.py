"""Observability of the coordinator: logs, metrics, request ids, supervised tasks, the state of the process."""

from server.observe.context import RequestNotes, RequestScope, request_notes
from server.observe.exposition import may_read_metrics, render
from server.observe.log_format import describe_exception
from server.observe.log_queue import QueueingHandler
from server.observe.log_setup import logging_to
from server.observe.metrics import Metrics
from server.observe.observers import LinkMetrics, RelayMetrics
from server.observe.redact import clean_foreign_text, mask_ip, redact_text
from server.observe.request_id import choose_request_id, mint_coord_request_id, mint_request_id
from server.observe.saferun import Supervisor

__all__ = [
    "LinkMetrics",
    "Metrics",
    "QueueingHandler",
    "RelayMetrics",
    "RequestNotes",
    "RequestScope",
    "Supervisor",
    "choose_request_id",
    "clean_foreign_text",
    "describe_exception",
    "logging_to",
    "mask_ip",
    "may_read_metrics",
    "mint_coord_request_id",
    "mint_request_id",
    "redact_text",
    "render",
    "request_notes",
]
