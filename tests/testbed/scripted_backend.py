"""An engine backend without arrays: each row's next token is a pure function of the tokens before it."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from provider.engine import GenerationRequest, LoadedModel
from provider.engine.backend import ProcessorFunction, RowSampling, SamplerFunction, Segments
from tests.testbed.byte_model import EOS

Script = Callable[[list[int]], int]
"""Maps prompt and generated tokens to the next token."""


def spell(answer: str) -> Script:
    """A script that spells one answer after any prompt, then ends; prompts must not change in length."""
    tokens: list[int] = [*answer.encode(), EOS]
    starts: list[int] = []

    def script(context: list[int]) -> int:
        if not starts:
            starts.append(len(context))
        at: int = min(len(context) - starts[0], len(tokens) - 1)
        return tokens[at]

    return script


def count_up(context: list[int]) -> int:
    """The letter after the last one, without end."""
    last = context[-1]
    return last + 1 if ord("a") <= last < ord("z") else ord("a")


@dataclass(slots=True)
class Token:
    """A token response."""

    uid: int
    token: int
    finish_reason: str | None
    logprobs: object = None
    prompt_cache: list[object] | None = None
    all_tokens: list[int] | None = None


@dataclass(slots=True)
class Progress:
    """A prefill response."""

    uid: int
    progress: tuple[int, int]
    end_of_prompt: bool


@dataclass(slots=True)
class _Row:
    uid: int
    context: list[int]
    parts: Segments
    total: int
    left: int


@dataclass(slots=True)
class Faults:
    """What goes wrong, and when; tests change it while the engine runs."""

    raise_next: list[BaseException] = field(default_factory=list)
    broken: bool = False
    raise_in: set[str] = field(default_factory=set)
    hold: threading.Event | None = None
    held: threading.Event = field(default_factory=threading.Event)
    """Set as soon as a step waits for `hold`."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one step did: rows that decoded, prompt tokens (the shorter rows padded), tokens that stood before them."""

    decoded: int
    prompt: int
    before: int


class ScriptedGenerator:
    """Prefill in chunks, then one token per row and call, like mlx-lm's generator."""

    def __init__(
        self, script: Script, faults: Faults, end_tokens: frozenset[int], note: Callable[[Work], None] | None
    ) -> None:
        self.prefill_step_size = 2048
        self.closed = False
        self.chunks: list[int] = []
        self._script = script
        self._faults = faults
        self._end = end_tokens
        self._note = note
        self._prefilling: list[_Row] = []
        self._decoding: list[_Row] = []
        self._next_uid = 0

    def insert_segments(
        self,
        segments: list[Segments],
        max_tokens: list[int] | None = None,
        caches: list[list[object] | None] | None = None,
        all_tokens: list[list[int]] | None = None,
        samplers: list[SamplerFunction | None] | None = None,
        logits_processors: list[Sequence[ProcessorFunction]] | None = None,
    ) -> list[int]:
        if "insert" in self._faults.raise_in:
            raise ValueError("insert")
        assert max_tokens is not None
        assert all_tokens is not None
        uids = []
        for parts, limit, covered in zip(segments, max_tokens, all_tokens, strict=True):
            assert all(parts), "empty prompt"
            assert limit > 0, "no tokens wanted"
            self._prefilling.append(_Row(self._next_uid, list(covered), list(parts), sum(map(len, parts)), limit))
            uids.append(self._next_uid)
            self._next_uid += 1
        return uids

    def next(self) -> tuple[list[Progress], list[Token]]:
        assert not self.closed
        if self._faults.hold is not None:
            self._faults.held.set()
            self._faults.hold.wait()
        if self._faults.raise_next:
            raise self._faults.raise_next.pop(0)
        tokens = []
        for row in list(self._decoding):
            token = self._script(row.context)
            row.context.append(token)
            row.left -= 1
            reason = "stop" if token in self._end else "length" if row.left == 0 else None
            if reason is not None:
                self._decoding.remove(row)
            tokens.append(Token(row.uid, token, reason))
        progress = []
        if self._note is not None:
            parts = [min(len(row.parts[0]), self.prefill_step_size) for row in self._prefilling]
            before = max((len(row.context) for row in self._prefilling), default=0)
            self._note(Work(len(tokens), len(parts) * max(parts, default=0), before))
        for row in list(self._prefilling):
            first = row.parts.pop(0)
            part, rest = first[: self.prefill_step_size], first[self.prefill_step_size :]
            self.chunks.append(len(part))
            row.context += part
            if rest:
                row.parts.insert(0, rest)
            done = not row.parts
            if done:
                self._prefilling.remove(row)
                self._decoding.append(row)
            left = sum(map(len, row.parts))
            progress.append(Progress(row.uid, (row.total - left, row.total), done))
        return progress, tokens

    def extract_cache(self, uids: list[int]) -> dict[int, tuple[list[object], list[int]]]:
        if "extract" in self._faults.raise_in:
            raise ValueError("extract")
        rows = [*self._prefilling, *self._decoding]
        return {row.uid: ([object()], list(row.context)) for row in rows if row.uid in uids}

    def remove(self, uids: list[int], return_prompt_caches: bool = False) -> dict[int, tuple[list[object], list[int]]]:
        if return_prompt_caches and "pause" in self._faults.raise_in:
            raise ValueError("pause")
        if "remove" in self._faults.raise_in:
            raise ValueError("remove")
        removed: dict[int, tuple[list[object], list[int]]] = {}
        for rows in (self._prefilling, self._decoding):
            for row in [row for row in rows if row.uid in uids]:
                rows.remove(row)
                removed[row.uid] = ([object()], list(row.context))
        return removed if return_prompt_caches else {}

    @property
    def prompt_cache_nbytes(self) -> int:
        return 0

    @property
    def rows(self) -> int:
        """Rows inside, at any stage."""
        return len(self._prefilling) + len(self._decoding)

    def close(self) -> None:
        self.closed = True


class ScriptedBackend:
    """Backend over a script; remembers its generators."""

    def __init__(
        self,
        model: LoadedModel,
        script: Script,
        faults: Faults | None = None,
        note: Callable[[Work], None] | None = None,
    ) -> None:
        self.faults = faults or Faults()
        self.generators: list[ScriptedGenerator] = []
        self.cleared = 0
        self._script = script
        self._note = note
        self._end = model.eos_ids

    def make_generator(self, rows: int) -> ScriptedGenerator:
        self.generators.append(ScriptedGenerator(self._script, self.faults, self._end, self._note))
        return self.generators[-1]

    def make_sampling(self, request: GenerationRequest) -> RowSampling:
        return RowSampling(None, ())

    def is_broken(self, response: object) -> bool:
        return self.faults.broken

    def keep_cache(self, cache: list[object]) -> list[object]:
        return cache

    def drop_last(self, cache: list[object]) -> bool:
        return True

    def copy_prefix(self, cache: list[object], drop: int) -> list[object] | None:
        return list(cache)

    def cache_bytes(self, cache: list[object]) -> int:
        return 0

    def clear(self) -> None:
        self.cleared += 1
