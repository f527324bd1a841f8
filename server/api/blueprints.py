"""All public endpoints, as blueprints for the application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.api.chat import chat_blueprint
from server.api.health import health_blueprint
from server.api.models import models_blueprint

if TYPE_CHECKING:
    from quart import Blueprint

    from server.api.services import ApiServices


def build_blueprints(services: ApiServices) -> list[Blueprint]:
    """Give every endpoint that `services` can serve."""
    return [chat_blueprint(services), models_blueprint(services), health_blueprint(services)]
