"""`darkbloom-coordinator admin …`: what operators do, on the database itself."""

from server.cli.admin.group import admin

__all__ = ["admin"]
