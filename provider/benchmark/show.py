"""The report as the lines that a person reads."""

from provider.benchmark.results import BenchmarkReport, Cell


def table(report: BenchmarkReport) -> str:
    """Write the header, one line for each kind of figure, and what it cost."""
    facts = report.facts
    machine = ", ".join(
        part
        for part in (facts.chip, f"{facts.memory_gb} GB" if facts.memory_gb else "", _bandwidth(facts.bandwidth_gbs))
        if part
    )
    lines = [f"{facts.model}   {machine}"]
    if report.prefill:
        lines.append("prefill   " + " | ".join(_prefill(cell) for cell in report.prefill))
    if report.decode:
        cells = " | ".join(
            f"batch {cell.size}: {_speed(cell.tokens_per_second.median)} tok/s" for cell in report.decode
        )
        lines.append(f"decode    {cells}{_per_row(report.decode)}")
    if report.arrival is not None:
        arrival = report.arrival
        agree = "same output" if arrival.same_output else "OUTPUT DIFFERS"
        lines.append(
            f"arrival   {arrival.rows} rows in a burst {arrival.burst_seconds.median:.2f} s, "
            f"staggered {arrival.staggered_seconds.median:.2f} s, {agree}"
        )
    if report.parity is not None:
        lines.append(
            f"parity    {'greedy text is the same in every batch' if report.parity else 'GREEDY TEXT DIFFERS'}"
        )
    use = report.bandwidth_use
    lines.append(
        (f"bandwidth use (batch 1): {use:.0%}   " if use is not None else "")
        + f"load {facts.load_ms / 1000:.1f} s   peak memory {_size(report.peak_memory_bytes)}"
    )
    return "\n".join(lines)


def _prefill(cell: Cell) -> str:
    wait = f", TTFT {cell.ttft_ms.median:.0f} ms" if cell.ttft_ms is not None else ""
    return f"{cell.size} tok: {_speed(cell.tokens_per_second.median)} tok/s{wait}"


def _per_row(cells: list[Cell]) -> str:
    if len(cells) < 2:
        return ""
    first, last = cells[0], cells[-1]
    begin, end = (cell.tokens_per_second.median / cell.size for cell in (first, last))
    return f"   (per row {_speed(begin)} … {_speed(end)})"


def _speed(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _bandwidth(gigabytes: float) -> str:
    return f"{gigabytes:.0f} GB/s" if gigabytes > 0 else ""
