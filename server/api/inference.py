"""What the inference endpoints of every dialect share: the checks in their public order, then the relay."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, assert_never

from msgspec import structs

from protocol.api.errors import ApiError, renamed
from protocol.api.shapes import CHAT, Dialect
from protocol.messages.register import RAW_PROMPTS
from server.answer import StreamingAnswer
from server.api.auth import accounts_unavailable, check_model_allowed
from server.api.bodies import Bodies
from server.api.cache_owner import cache_owner
from server.api.call import json_answer
from server.api.prefix_keys import prefix_keys
from server.api.remote_media import RemoteMedia, remote_parts
from server.api.request_limits import RequestLimits
from server.api.target import ModelNames
from server.observe.context import coord_request_id
from server.observe.request_id import mint_coord_request_id
from server.registry import SelfRoute, Traits
from server.relay import Answered, Committed, Payer, Refused, RelayJob, RequestStamps
from server.store import StoreUnavailable

if TYPE_CHECKING:
    from protocol.api import ChatRequest
    from server.accounts import Identity
    from server.api.call import Call, Endpoint, WholeAnswer
    from server.api.services import ApiServices

SELF_ROUTE_HEADER: Final = "X-Darkbloom-Route"
DETAILS_HEADER: Final = "X-Darkbloom-Metadata-Details"
STREAM_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}
"""`X-Accel-Buffering` stops nginx from collecting events."""

_RAW_PROMPTS: Final = frozenset({RAW_PROMPTS})
_NO_OTHER_NAMES: Final[Mapping[str, str]] = {}
_SELF_ROUTES: Final = {"self": SelfRoute.EXCLUSIVE, "prefer": SelfRoute.PREFER}


class Asked(NamedTuple):
    """A checked body: the request in the one internal form, and how its answer is to look."""

    chat: ChatRequest
    dialect: Dialect = CHAT
    is_chat: bool = False
    """Chat completions themselves: provider details on request, remote media, aggregators' words for reasoning."""
    names: Mapping[str, str] = _NO_OTHER_NAMES
    """The caller's own names of chat's members; see `renamed`."""


ReadBody: TypeAlias = Callable[[bytes, Callable[[str], None], int], Asked]
"""Reads a body: (body, check of the model's name against the key, most bytes of a body); raises ApiError."""


def inference_endpoint(services: ApiServices, read: ReadBody) -> Endpoint:
    """Serve one dialect, streaming and not."""

    async def endpoint(call: Call) -> WholeAnswer | StreamingAnswer:
        received = services.clock()
        identity = await services.door.identify(call.headers, method="POST", scheme=call.scheme, ip=call.client_ip)
        limits = RequestLimits(services.door.limiter, identity)
        names = _NO_OTHER_NAMES
        try:
            limits.count_request()
            body = await call.read_body()
            asked = read(body, lambda model: check_model_allowed(identity, model), services.max_body_bytes)
            names = asked.names
            self_route = wished_route(identity, call)
            linked = self_route is not SelfRoute.EXCLUSIVE or await _has_machine(services, identity)
            job = _job(services, identity, limits, call, asked, self_route, received)
            if not linked:
                job = structs.replace(job, has_linked_machine=False)
            outcome = await services.relay.run(job)
        except ApiError as error:
            raise limits.shown_on(renamed(error, names)) from None
        match outcome:
            case Committed():
                headers = {**STREAM_HEADERS, **limits.headers, **outcome.headers}
                return StreamingAnswer(
                    outcome.produce, headers=headers, on_end=outcome.abandon, crash_event=outcome.crash_event
                )
            case Answered():
                return json_answer(outcome.body, headers={**limits.headers, **outcome.headers})
            case Refused():
                raise limits.shown_on(renamed(outcome.error, names))
            case _:
                assert_never(outcome)

    return endpoint


async def _has_machine(services: ApiServices, identity: Identity) -> bool:
    try:
        return await services.has_machine(identity.account_id)
    except StoreUnavailable:
        raise accounts_unavailable() from None


def _job(
    services: ApiServices,
    identity: Identity,
    limits: RequestLimits,
    call: Call,
    asked: Asked,
    self_route: SelfRoute,
    received: float,
) -> RelayJob:
    """Describe a checked request to the relay; raises ApiError, in the public order of the checks."""
    chat, fetcher = asked.chat, services.media
    names = ModelNames(services.registry, services.aliases)
    builds = names.builds(chat.public_model)
    names.check_abilities(chat, builds)
    remote = remote_parts(chat.media_parts(), fetcher, may_fetch=asked.is_chat and not call.sealed)
    target = names.target(chat, builds, exclusive=self_route is SelfRoute.EXCLUSIVE)
    bodies = Bodies(
        chat,
        names,
        max_tokens=target.max_tokens,
        limit_bytes=services.max_body_bytes,
        think_on_request=asked.is_chat and identity.is_service,
    )
    bodies.for_build(target.build)
    limits.count_tokens(prompt=chat.prompt_tokens_estimate, output_bound=target.max_tokens)
    owner = cache_owner(services.cache_secret, identity, chat)
    parsed = services.clock()
    stamps = RequestStamps(received=received, parsed=parsed, reserved=parsed)
    return RelayJob(
        coord_request_id=coord_request_id.get() or mint_coord_request_id(),
        public_model=chat.public_model,
        build=target.build,
        previous_build=target.previous_build,
        prompt_tokens=chat.prompt_tokens_estimate,
        prompt_tokens_hold=chat.prompt_tokens_hold,
        max_tokens=target.max_tokens,
        stream=chat.stream,
        include_usage=chat.include_usage,
        created=int(services.wall_clock()),
        stamps=stamps,
        make_body=bodies.for_build,
        account_id=identity.account_id,
        key_id=identity.key_id,
        payer=_payer(identity),
        on_settling=limits.settle,
        traits=_traits(chat),
        self_route=self_route,
        splits_think=lambda build: not chat.raw_prompt and names.has_feature(build, "reasoning"),
        asked_for_stop=chat.asked_for_stop,
        wants_metadata=asked.is_chat and (chat.wants_metadata or _asks_for_details(call)),
        cache_scope=lambda build: cache_scope(services.cache_secret, owner.name, build),
        prefixes=partial(prefix_keys, services.cache_secret, owner.name, chat)
        if owner.is_one and services.registry.policy.cache_routing and self_route is not SelfRoute.EXCLUSIVE
        else None,
        dialect=asked.dialect,
        media=None
        if fetcher is None or not remote
        else RemoteMedia(bodies, remote, fetcher, stamps=stamps, clock=services.clock),
    )


def _payer(identity: Identity) -> Payer:
    return Payer(
        covered=identity.covered,
        service=identity.is_service,
        cap_micro_usd=identity.limit_micro_usd,
        cap_window=identity.limit_reset,
    )


def _traits(chat: ChatRequest) -> Traits:
    return Traits(
        has_tools=chat.has_tools,
        requires_tool_constraint=chat.forces_tool,
        requires_vision=chat.has_media,
        required_features=_RAW_PROMPTS if chat.raw_prompt else frozenset(),
    )


def wished_route(identity: Identity, call: Call) -> SelfRoute:
    """Whether the caller's own machines are to answer, as the key or else the header says."""
    if identity.self_route_only:
        return SelfRoute.EXCLUSIVE
    wish = call.headers.get(SELF_ROUTE_HEADER).strip().lower()
    return _SELF_ROUTES.get(wish, SelfRoute.OFF)


def _asks_for_details(call: Call) -> bool:
    return call.headers.get(DETAILS_HEADER).strip().lower() == "true" or call.query("metadata") == "details"


@lru_cache(maxsize=4096)
def cache_scope(secret: bytes, owner: str, build: str) -> str:
    """The scope under which a provider may reuse a prompt's cache: one per owner and build, unlinkable otherwise."""
    text = f"{owner}\0{build}".encode()
    return hmac.digest(secret, text, "sha256").hex()
