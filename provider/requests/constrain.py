"""Compiling what an answer is constrained by, off the trio thread and within a bound."""

import logging
from typing import Final

import msgspec
import trio

from provider.engine import GenerationRequest, LoadedModel
from provider.engine.grammar import Grammar, GrammarRefused
from provider.requests.refusal import INVALID, RequestRefused
from provider.requests.render import Rendered

log = logging.getLogger(__name__)

COMPILE_SECONDS: Final = 2.0
"""A grammar that takes longer is refused; its thread is left to end by the compiler's own bounds."""


async def constrained(model: LoadedModel, rendered: Rendered, *, threads: trio.CapacityLimiter) -> GenerationRequest:
    """Return the engine's request with its grammar, if it has one.

    Raises `RequestRefused` for a structure that cannot be enforced. A forced tool that cannot be enforced is left to
    the check at the answer's end.
    """
    constraint = rendered.constraint
    if constraint is None:
        return rendered.request
    compiler = model.grammars
    if compiler is not None:
        with trio.move_on_after(COMPILE_SECONDS):
            try:
                prototype = await trio.to_thread.run_sync(
                    compiler.compile, constraint.source, limiter=threads, abandon_on_cancel=True
                )
            except GrammarRefused:
                log.info("grammar refused", extra={"kind": constraint.source.kind})
            else:
                grammar = Grammar(prototype, constraint.begin)
                return msgspec.structs.replace(rendered.request, grammar=grammar)
    if constraint.is_optional:
        return rendered.request
    raise RequestRefused(INVALID)
