"""The inference engine: `EngineFront` on the trio side, continuous batching on one engine thread."""

from provider.engine.events import (
    CacheOutcome,
    Cause,
    Delta,
    EngineEvent,
    Failure,
    Finished,
    FinishReason,
    TokenLogprob,
    Usage,
)
from provider.engine.front import EngineFront, EngineLost, exit_process
from provider.engine.generation import Generation, GenerationEnded
from provider.engine.limits import MAX_CONCURRENT_LIMIT, EngineLimits
from provider.engine.model import LoadedModel
from provider.engine.ports import Engine
from provider.engine.request import GREEDY, GenerationRequest, SamplingParameters
from provider.engine.snapshot import EngineSnapshot, SlotSnapshot, SlotState
from provider.engine.vocabulary import Vocabulary, build_vocabulary
from provider.engine.watchdog import Health

__all__ = [
    "GREEDY",
    "MAX_CONCURRENT_LIMIT",
    "CacheOutcome",
    "Cause",
    "Delta",
    "Engine",
    "EngineEvent",
    "EngineFront",
    "EngineLimits",
    "EngineLost",
    "EngineSnapshot",
    "Failure",
    "FinishReason",
    "Finished",
    "Generation",
    "GenerationEnded",
    "GenerationRequest",
    "Health",
    "LoadedModel",
    "SamplingParameters",
    "SlotSnapshot",
    "SlotState",
    "TokenLogprob",
    "Usage",
    "Vocabulary",
    "build_vocabulary",
    "exit_process",
]
