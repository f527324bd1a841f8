"""quart without what this coordinator does not use: sessions, signals, hooks after a request, virtual hosts, `url_for`.

Those are looked up and awaited for every request otherwise, which costs more than routing and dispatch together; the
functions that build addresses for `url_for` took a quarter of the time in which a coordinator starts.
Before-request functions, error handlers and blueprints work as documented.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import lru_cache
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final, cast

from quart.routing import QuartRule
from quart.sessions import NullSession, SessionInterface
from quart_trio import QuartTrio

if TYPE_CHECKING:
    from quart import Quart
    from quart.ctx import RequestContext
    from quart.typing import ResponseReturnValue, ResponseTypes
    from quart.wrappers.base import BaseRequestWebsocket
    from werkzeug.routing import MapAdapter

_NO_SESSION: Final = NullSession()


class _MatchedRule(QuartRule):
    """A route that requests are matched with, and no addresses are built from."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        return _never_built


def _never_built(*_: object, **_values: object) -> tuple[str, str]:
    raise RuntimeError("This application builds no addresses from its routes; write them out.")


class LeanQuart(QuartTrio):
    """Serves requests through routing, before-request functions, the view and the error handlers, nothing else."""

    url_rule_class = _MatchedRule  # type: ignore[assignment]

    def __init__(self, name: str) -> None:
        super().__init__(name, static_folder=None)
        self.session_interface = _NoSessions()  # type: ignore[assignment]

    async def full_dispatch_request(self, request_context: RequestContext | None = None) -> ResponseTypes:
        """Find the answer of one request; raises what no error handler takes."""
        try:
            found = await self.preprocess_request(request_context) if self.before_request_funcs else None
            result: Any = found if found is not None else await self.dispatch_request(request_context)
        except (Exception, BaseExceptionGroup) as error:
            result = await self.handle_user_exception(error)
        return await self.make_response(cast("ResponseReturnValue", result))

    def create_url_adapter(self, request: BaseRequestWebsocket | None) -> MapAdapter | None:
        """Bind the routes to a request, whatever host it names."""
        if request is None:
            return None
        return self.url_map.bind("localhost", request.root_path, "", request.scheme, request.method, request.path)

    def ensure_async(self, func: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        """Return `func`, in a thread unless it is asynchronous."""
        return func if _is_async(func) else super().ensure_async(func)

    async def do_teardown_request(
        self, exc: BaseException | None, request_context: RequestContext | None = None
    ) -> None:
        """Do nothing: there are no teardown functions."""

    async def do_teardown_appcontext(self, exc: BaseException | None) -> None:
        """Do nothing: there are no teardown functions."""


class _NoSessions(SessionInterface):
    """One empty session for everybody, which refuses to be filled."""

    async def open_session(self, app: Quart, request: BaseRequestWebsocket) -> NullSession:
        """Return the empty session."""
        return _NO_SESSION

    async def save_session(self, *_: object) -> None:
        """Never called: the session cannot change."""


@lru_cache(maxsize=1024)
def _is_async(func: Callable[..., Any]) -> bool:
    return iscoroutinefunction(func)
