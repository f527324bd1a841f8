"""The judge of chat templates: one child process for all of them, replaced when a template does not come to an end.

Invariant: a template runs in the child only. Verdicts are cached by content. One question at a time, from any thread.
"""

import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from provider.models.templates.cases import Case, text_cases, vision_cases
from provider.models.templates.shipped import ShippedTemplates, read_templates

LIMIT_SECONDS: Final = 2.0
TRIES: Final = 2
"""A second child gets the question too, because a busy machine can make the first one late."""

START_SECONDS: Final = 20.0
"""What the child may take for its own start on a busy machine."""

MAX_VERDICTS: Final = 1024
_MAX_ANSWER_BYTES: Final = 4096
_MODULE: Final = "provider.models.templates.worker"


class _Answer(msgspec.Struct):
    ok: bool


class _NoAnswer(Exception):
    """The child did not answer in time, or ended."""


class TemplateChecker:
    """Use it as a context manager. `environment` is what the child gets, nothing by default."""

    def __init__(
        self,
        *,
        environment: Mapping[str, str] | None = None,
        limit_seconds: float = LIMIT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._environment = dict(environment or {})
        self._limit = limit_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._verdicts: dict[str, bool] = {}
        self._text = text_cases()
        self._vision = vision_cases()

    def check_folder(self, directory: Path, *, is_vision: bool = False) -> bool | None:
        """Judge the templates of a model folder; None when it ships none, or when nothing could be found out."""
        shipped = read_templates(directory, is_vision=is_vision)
        return None if shipped is None else self.check(shipped)

    def check(self, shipped: ShippedTemplates) -> bool | None:
        """Judge templates: False for one that fails or does not end in time, None when no child can be started."""
        digest = shipped.digest
        with self._lock:
            if digest not in self._verdicts:
                verdict = self._ask(shipped)
                if verdict is None:
                    return None
                while len(self._verdicts) >= MAX_VERDICTS:
                    del self._verdicts[next(iter(self._verdicts))]
                self._verdicts[digest] = verdict
            return self._verdicts[digest]

    def close(self) -> None:
        """End the child; idempotent."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            with child:
                pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, shipped: ShippedTemplates) -> bool | None:
        cases: Sequence[Case] = self._text + (self._vision if shipped.is_vision else ())
        question = _question(shipped.all, shipped.plain, shipped.tools, shipped.tokens, cases)
        for _ in range(TRIES):
            try:
                child = self._child or self._start()
            except (OSError, _NoAnswer, msgspec.DecodeError):
                return None
            self._child = child
            try:
                return self._exchange(child, question, self._limit)
            except (_NoAnswer, OSError, msgspec.DecodeError):
                self.close()
        return False

    def _start(self) -> subprocess.Popen[bytes]:
        # -P keeps the working directory out of the path; the package itself is found where this one was.
        root = str(Path(__file__).resolve().parents[3])
        launch = (
            f"import sys; sys.path.insert(0, {root!r}); import runpy; runpy.run_module({_MODULE!r}, None, '__main__')"
        )
        child = subprocess.Popen(
            [sys.executable, "-I", "-B", "-c", launch],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._environment,
            close_fds=True,
        )
        try:
            self._exchange(child, _question((), None, None, {}, ()), START_SECONDS)
        except BaseException:
            child.kill()
            with child:
                raise
        return child

    def _exchange(self, child: subprocess.Popen[bytes], question: bytes, patience: float) -> bool:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(question + b"\n")
        child.stdin.flush()
        deadline = self._clock() + patience
        answer = b""
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while not answer.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - self._clock())):
                    raise _NoAnswer
                piece = os.read(child.stdout.fileno(), _MAX_ANSWER_BYTES)
                answer += piece
                if not piece or len(answer) > _MAX_ANSWER_BYTES:
                    raise _NoAnswer
        return msgspec.json.decode(answer, type=_Answer).ok


def _question(
    templates: Sequence[str | None],
    plain: str | None,
    tools: str | None,
    tokens: Mapping[str, str],
    cases: Sequence[Case],
) -> bytes:
    asked = {"templates": templates, "plain": plain, "tools": tools, "tokens": tokens, "cases": cases}
    return msgspec.json.encode(asked)
