"""Asking the coordinator's public and account endpoints over HTTP, for commands that end in a moment."""

from provider.upstream.client import HttpAnswer, Upstream, UpstreamUnreachable

__all__ = ["HttpAnswer", "Upstream", "UpstreamUnreachable"]
