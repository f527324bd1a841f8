"""How the first administrator of a fresh installation is made: by a command, or with a set-up token over HTTP."""

from __future__ import annotations

from typing import Final

CREATE: Final = "darkbloom-coordinator admin accounts create NAME --admin"


def sign_up_command(url: str, token: str) -> str:
    """Give the command line of that request."""
    return (
        f"curl {url.rstrip('/')}/auth/signup -H 'Content-Type: application/json' -H 'X-CSRF: 1' "
        f"-H 'Sec-Fetch-Site: same-origin' "
        f"""-d '{{"setup": "{token}", "login": "NAME", "password": "PASSWORD"}}'"""
    )
