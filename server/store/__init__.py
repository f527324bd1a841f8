"""The database of the coordinator: one SQL text on two engines, transactions as functions, migrations, upkeep."""

from server.store.engine import Listening, Row, Store, Tx, Value, Work
from server.store.errors import (
    CapExceeded,
    Conflict,
    InsufficientBalance,
    Invalid,
    NotFound,
    StoreError,
    StoreUnavailable,
    TransactionAborted,
)

__all__ = [
    "CapExceeded",
    "Conflict",
    "InsufficientBalance",
    "Invalid",
    "Listening",
    "NotFound",
    "Row",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "TransactionAborted",
    "Tx",
    "Value",
    "Work",
]
