"""Compiling what an answer is constrained by, off the trio thread and within a bound."""

import logging
from dataclasses import replace
from typing import Final

import msgspec
import trio

from provider.engine import LoadedModel
from provider.engine.grammar import (
    Grammar,
    GrammarCompiler,
    GrammarRefused,
    GrammarSource,
    SchemaCheck,
)
from provider.engine.grammar.plan import Prototype
from provider.requests.refusal import INVALID, RequestRefused
from provider.requests.render import Rendered

log = logging.getLogger(__name__)

COMPILE_SECONDS: Final = 2.0
"""A grammar that takes longer is refused; its thread is left to end by the compiler's own bounds."""


async def constrained(model: LoadedModel, rendered: Rendered, *, threads: trio.CapacityLimiter) -> Rendered:
    """Return the request with its grammar and its plan with what a grammar cannot enforce, if it has any.

    Raises `RequestRefused` for a structure that cannot be enforced. A forced tool that cannot be enforced is left to
    the check at the answer's end.
    """
    constraint = rendered.constraint
    if constraint is None:
        return rendered
    compiler = model.grammars
    if compiler is not None:
        with trio.move_on_after(COMPILE_SECONDS):
            try:
                prototype, check = await trio.to_thread.run_sync(
                    _compile, compiler, constraint.source, limiter=threads, abandon_on_cancel=True
                )
            except GrammarRefused:
                log.info("grammar refused", extra={"kind": constraint.source.kind})
            else:
                grammar = Grammar(prototype, constraint.begin)
                request = msgspec.structs.replace(rendered.request, grammar=grammar)
                plan = replace(rendered.plan, check=check, streams_calls=rendered.plan.must_call)
                return replace(rendered, request=request, plan=plan)
    if constraint.is_optional:
        return rendered
    raise RequestRefused(INVALID)


def _compile(compiler: GrammarCompiler, source: GrammarSource) -> tuple[Prototype, SchemaCheck | None]:
    return compiler.compile(source), compiler.check_of(source)
