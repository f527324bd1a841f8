"""An inference endpoint that takes sealed bodies too, and answers those sealed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from protocol.api.errors import ApiError
from server.answer import AnswerAborted, ConsumerGone, StreamingAnswer
from server.api.call import WholeAnswer
from server.sealed.exchange import SEALED_TYPE
from server.sealed.stream import EventForm, SealingWriter

if TYPE_CHECKING:
    from server.answer import AnswerWriter, Producer
    from server.api.call import Call, Endpoint
    from server.sealed.desk import SealingDesk
    from server.sealed.exchange import SealedExchange

PAD_HEADER: Final = "X-Darkbloom-Pad"
COUNT_HEADER: Final = "X-Darkbloom-Count"

_log = logging.getLogger("darkbloom.sealed")


def sealed_endpoint(endpoint: Endpoint, desk: SealingDesk, error_body: Callable[[ApiError], bytes]) -> Endpoint:
    """Serve `endpoint` plain or sealed, as a request says; nothing is ever guessed.

    What comes before unsealing (who, how often) is answered plain; everything after it is sealed, errors with the body
    that `error_body` gives. A crash is answered by the layers outside, with a text that says nothing.
    """

    async def answer(call: Call) -> WholeAnswer | StreamingAnswer:
        if not call.sealed:
            return await endpoint(call)
        opening = _Opening(call, desk)
        try:
            found = await endpoint(call.unsealed(opening.read_body))
            return _sealed(found, opening.needed(), _form(call))
        except ApiError as error:
            if opening.exchange is None:
                raise
            return _sealed_error(error, error_body(error), opening.exchange)
        except BaseException:
            opening.close()
            raise

    return answer


class _Opening:
    """Opens the body when the endpoint asks for it."""

    def __init__(self, call: Call, desk: SealingDesk) -> None:
        self._call = call
        self._desk = desk
        self.exchange: SealedExchange | None = None

    async def read_body(self) -> bytes:
        """See Call.read_body; raises ApiError as SealingDesk.open does."""
        plaintext, self.exchange = await self._desk.open(await self._call.read_body())
        return plaintext

    def needed(self) -> SealedExchange:
        """What seals the answer; an endpoint that answers without the body has none, and must not answer in clear."""
        if self.exchange is None:
            raise AssertionError("An endpoint answered a sealed request without reading it.")
        return self.exchange

    def close(self) -> None:
        """Wipe the key, if there is one."""
        if self.exchange is not None:
            self.exchange.close()


def _form(call: Call) -> EventForm:
    return EventForm(padded=call.headers.get(PAD_HEADER) == "1", numbered=call.headers.get(COUNT_HEADER) == "1")


def _sealed(
    found: WholeAnswer | StreamingAnswer, exchange: SealedExchange, form: EventForm
) -> WholeAnswer | StreamingAnswer:
    if isinstance(found, WholeAnswer):
        try:
            body = exchange.seal_whole(found.body)
        finally:
            exchange.close()
        headers = {**found.headers, **exchange.headers}
        return WholeAnswer(body, headers, SEALED_TYPE, status=found.status)

    on_end = found.on_end

    def end() -> None:
        exchange.close()
        if on_end is not None:
            on_end()

    return StreamingAnswer(
        _sealing(found, exchange, form),
        status=found.status_code,
        headers={**dict(found.headers), **exchange.headers},
        on_end=end,
    )


def _sealing(found: StreamingAnswer, exchange: SealedExchange, form: EventForm) -> Producer:
    """Run a producer over a writer that seals; its crash must not end in an event in clear."""

    async def sealed(writer: AnswerWriter) -> None:
        sealing = SealingWriter(writer, exchange, form)
        try:
            await found.produce(sealing)
        except (ConsumerGone, AnswerAborted):
            raise
        except Exception as error:
            _log.error("a sealed answer crashed", extra={"kind": type(error).__name__})
            if found.crash_event is None:
                raise AnswerAborted("A sealed answer crashed.") from None
            await sealing.write(found.crash_event())
        await sealing.finish()

    return sealed


def _sealed_error(error: ApiError, body: bytes, exchange: SealedExchange) -> WholeAnswer:
    try:
        sealed = exchange.seal_whole(body)
    finally:
        exchange.close()
    return WholeAnswer(sealed, {**dict(error.headers()), **exchange.headers}, SEALED_TYPE, status=error.status)
