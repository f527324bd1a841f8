"""The listener: one port for consumers (hypercorn) and providers (raw streams)."""

from server.listener.client_address import LOOPBACK_NETWORKS, ClientAddress, IpNetwork, resolve_client
from server.listener.connection import Connection
from server.listener.head import HeadRefused, RequestHead
from server.listener.limits import ListenerLimits
from server.listener.listener import Listener, ProviderLink
from server.listener.tls import server_tls_context
from server.listener.transport import TRANSPORT_EXTENSION, AnswerTransport

__all__ = [
    "LOOPBACK_NETWORKS",
    "TRANSPORT_EXTENSION",
    "AnswerTransport",
    "ClientAddress",
    "Connection",
    "HeadRefused",
    "IpNetwork",
    "Listener",
    "ListenerLimits",
    "ProviderLink",
    "RequestHead",
    "resolve_client",
    "server_tls_context",
]
