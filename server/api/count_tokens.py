"""`POST /v1/messages/count_tokens`: how many tokens a Messages body may have; an estimate, as routing makes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.api.anthropic import MEMBER_NAMES, lower_messages
from protocol.api.errors import ApiError, renamed
from server.api.anthropic_limits import showing_anthropic_limits
from server.api.auth import check_model_allowed
from server.api.call import WholeAnswer, json_answer
from server.api.inference import wished_route
from server.api.request_limits import RequestLimits
from server.api.target import ModelNames
from server.registry import SelfRoute

if TYPE_CHECKING:
    from server.api.call import Call, Endpoint
    from server.api.services import ApiServices

COUNT_TOKENS_PATH: Final = "/v1/messages/count_tokens"


def count_tokens_endpoint(services: ApiServices) -> Endpoint:
    """Count tokens: the body is checked as for a message; it costs a request of the rate limit, and no money."""

    async def count_tokens(call: Call) -> WholeAnswer:
        identity = await services.door.identify(call.headers, method="POST", scheme=call.scheme, ip=call.client_ip)
        limits = RequestLimits(services.door.limiter, identity)
        try:
            limits.count_request()
            chat = lower_messages(
                await call.read_body(),
                check_model=lambda model: check_model_allowed(identity, model),
                limit_bytes=services.max_body_bytes,
            ).chat
            names = ModelNames(services.registry, services.aliases)
            builds = names.builds(chat.public_model)
            names.check_abilities(chat, builds)
            chat.media_parts()
            names.target(chat, builds, exclusive=wished_route(identity, call) is SelfRoute.EXCLUSIVE)
        except ApiError as error:
            raise limits.shown_on(renamed(error, MEMBER_NAMES)) from None
        return json_answer({"input_tokens": chat.prompt_tokens_estimate}, headers=limits.headers)

    return showing_anthropic_limits(count_tokens, services.wall_clock)
