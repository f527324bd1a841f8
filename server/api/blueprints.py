"""All public endpoints: the inference ones by path, the others as blueprints for the application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.api.capacity import capacity_blueprint
from server.api.chat import CHAT_PATH, chat_endpoint
from server.api.completions import COMPLETIONS_PATH, completions_endpoint
from server.api.count_tokens import COUNT_TOKENS_PATH, count_tokens_endpoint
from server.api.health import health_blueprint
from server.api.messages import MESSAGES_PATH, messages_endpoint
from server.api.models import models_blueprint
from server.api.reference import reference_blueprint
from server.api.responses import RESPONSES_PATH, responses_endpoint

if TYPE_CHECKING:
    from quart import Blueprint

    from server.api.call import Endpoint
    from server.api.services import ApiServices


def build_blueprints(services: ApiServices) -> list[Blueprint]:
    """Give the endpoints that answer a question about the coordinator."""
    return [
        models_blueprint(services),
        capacity_blueprint(services),
        health_blueprint(services),
        reference_blueprint(services.version),
    ]


def build_endpoints(services: ApiServices) -> dict[str, Endpoint]:
    """Give the inference endpoints by their path; all of them are asked with POST."""
    return {
        CHAT_PATH: chat_endpoint(services),
        COMPLETIONS_PATH: completions_endpoint(services),
        RESPONSES_PATH: responses_endpoint(services),
        MESSAGES_PATH: messages_endpoint(services),
        COUNT_TOKENS_PATH: count_tokens_endpoint(services),
    }
