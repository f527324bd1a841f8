"""The figures of a benchmark as records that are printed as a table or as JSON."""

import statistics

import msgspec


class Samples(msgspec.Struct, frozen=True, kw_only=True):
    """Repeated measurements of one figure."""

    median: float
    min: float
    max: float
    samples: list[float]

    @classmethod
    def of(cls, values: list[float]) -> "Samples":
        """Summarise at least one value."""
        rounded = [round(value, 4) for value in values]
        return cls(median=round(statistics.median(values), 4), min=min(rounded), max=max(rounded), samples=rounded)


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """Prefill of a prompt of `size` tokens (then with the time to its first token), or decoding of `size` rows."""

    size: int
    tokens_per_second: Samples
    ttft_ms: Samples | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured on what. `bandwidth_gbs` 0 and an empty hash mean unknown."""

    model: str
    weight_hash: str
    weight_bytes: int
    load_ms: float
    chip: str
    memory_gb: int
    bandwidth_gbs: float
    versions: dict[str, str]


class ArrivalResult(msgspec.Struct, frozen=True, kw_only=True):
    """A burst of rows against the same rows one after another: seconds until all are done, and whether texts agree."""

    rows: int
    burst_seconds: Samples
    staggered_seconds: Samples
    same_output: bool


class BenchmarkReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was measured; `parity` says whether greedy texts are the same alone and in the largest batch."""

    facts: Facts
    prefill: list[Cell] = []
    decode: list[Cell] = []
    parity: bool | None = None
    arrival: ArrivalResult | None = None
    peak_memory_bytes: int = 0

    @property
    def prefill_tps(self) -> float | None:
        """Speed of the longest measured prompt."""
        return max(self.prefill, key=lambda cell: cell.size).tokens_per_second.median if self.prefill else None

    @property
    def decode_tps(self) -> float | None:
        """Speed of one row alone."""
        alone = next((cell for cell in self.decode if cell.size == 1), None)
        return None if alone is None else alone.tokens_per_second.median

    @property
    def bandwidth_use(self) -> float | None:
        """Share of the memory bandwidth that reading the weights for one row takes; None if either is unknown."""
        speed, bandwidth = self.decode_tps, self.facts.bandwidth_gbs
        return None if speed is None or bandwidth <= 0 else speed * self.facts.weight_bytes / (bandwidth * 1e9)

    def as_json(self) -> dict[str, object]:
        """Give plain values, derived figures included."""
        written: dict[str, object] = msgspec.to_builtins(self)
        use = self.bandwidth_use
        return written | {
            "prefill_tps": self.prefill_tps,
            "decode_tps": self.decode_tps,
            "bandwidth_use": None if use is None else round(use, 4),
        }
