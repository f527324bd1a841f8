"""A run, or two side by side, as Markdown with its charts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from server.sim.plot import Line, line_chart
from server.sim.statistics import percentile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from server.sim.report import Report, Spread
    from server.sim.simulation import Run

BINS: Final = 60
"""Parts of a run over which charts average."""


def _of(name: str, part: str) -> Callable[[Report], float | None]:
    def read(report: Report) -> float | None:
        spread: Spread = getattr(report, name)
        value: float | None = getattr(spread, part)
        return value

    return read


def _plain(name: str) -> Callable[[Report], float | None]:
    def read(report: Report) -> float | None:
        value: float | None = getattr(report, name)
        return value

    return read


ROWS: Final[Sequence[tuple[str, Callable[[Report], float | None]]]] = (
    ("jobs", _plain("jobs")),
    ("calls (HTTP requests)", _plain("calls")),
    ("served share of jobs", _plain("served_share")),
    ("accepted share of calls", _plain("accepted_share")),
    ("good answers", _plain("good")),
    ("good answers / perfect bound", _plain("perfect_share")),
    ("offered load", _plain("offered_load")),
    ("TTFT p50, ms", _of("ttft_ms", "p50")),
    ("TTFT p90, ms", _of("ttft_ms", "p90")),
    ("TTFT p99, ms", _of("ttft_ms", "p99")),
    ("end to end p50, ms", _of("end_to_end_ms", "p50")),
    ("end to end p99, ms", _of("end_to_end_ms", "p99")),
    ("tokens/s of an answer, p10", _plain("decode_tps_p10")),
    ("queued", _of("queue_wait_seconds", "count")),
    ("queue wait p50, s", _of("queue_wait_seconds", "p50")),
    ("queue wait p99, s", _of("queue_wait_seconds", "p99")),
    ("attempts per call", _plain("attempts_per_call")),
    ("hedges", _plain("hedges")),
    ("hedges won", _plain("hedges_won")),
    ("tokens of hedge losers", _plain("hedge_wasted_tokens")),
    ("wasted share of tokens", _plain("wasted_share")),
    ("fairness (Jain)", _plain("fairness")),
    ("utilisation", _plain("utilisation")),
    ("utilisation (Gini)", _plain("utilisation_gini")),
    ("model loads", _plain("loads")),
    ("loads within 10 min of an eviction", _plain("thrash")),
    ("prefix hits", _plain("prefix_hit_share")),
    ("predicted / true TTFT, p50", _of("prediction_ratio", "p50")),
    ("predicted / true TTFT, p90", _of("prediction_ratio", "p90")),
    ("least eligible share of machines", _plain("eligible_share_least")),
    ("connected to routable p99, s", _of("routable_after_seconds", "p99")),
)


def markdown(reports: Sequence[tuple[str, Report]], charts: Sequence[str] = ()) -> str:
    """Write one column per report; with two, a third one shows the second against the first."""
    names = [name for name, _ in reports]
    first = reports[0][1]
    compared = len(reports) == 2
    lines = [
        f"# Simulation: {first.scenario}",
        "",
        f"{first.machines} machines, {first.jobs} jobs, {first.seconds:g} s, seed {first.seed}. "
        + ", ".join(f"{name}: `{report.digest}`" for name, report in reports)
        + ".",
        "",
        "| figure | " + " | ".join(names) + (" | change |" if compared else " |"),
        "|---" * (1 + len(names) + compared) + "|",
    ]
    for title, read in ROWS:
        values = [read(report) for _, report in reports]
        cells = [title, *(_shown(value) for value in values)]
        if compared:
            cells.append(_change(values[0], values[1]))
        lines.append("| " + " | ".join(cells) + " |")
    for title, attribute in (
        ("Why calls were refused", "refusals"),
        ("Why jobs were lost", "jobs_lost"),
        ("Why attempts failed", "attempts_failed"),
    ):
        lines += _counts(title, [(name, getattr(report, attribute)) for name, report in reports])
    for chart in charts:
        lines += ["", f"![{chart.removesuffix('.svg')}]({chart})"]
    return "\n".join(lines) + "\n"


def _counts(title: str, columns: Sequence[tuple[str, Mapping[str, int]]]) -> list[str]:
    words = sorted({word for _, counts in columns for word in counts})
    if not words:
        return []
    head = ["", f"## {title}", "", "| reason | " + " | ".join(name for name, _ in columns) + " |"]
    rule = "|---" * (1 + len(columns)) + "|"
    body = ["| " + " | ".join([word, *(str(counts.get(word, 0)) for _, counts in columns)]) + " |" for word in words]
    return [*head, rule, *body]


def _shown(value: float | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _change(before: float | None, after: float | None) -> str:
    if before is None or after is None or before == after:
        return "" if before == after else "–"
    return "–" if not before else f"{100 * (after - before) / before:+.1f} %"


def charts(runs: Sequence[tuple[str, Run]]) -> dict[str, str]:
    """Draw the charts of one or several runs of the same setup, by file name."""
    return {
        "served.svg": line_chart(
            "Good answers per second, by when they were asked for",
            [Line(name, _good_over_time(run)) for name, run in runs],
            x_name="s",
            y_name="1/s",
        ),
        "ttft.svg": line_chart(
            "Time to first token, p90 of served jobs",
            [Line(name, _ttft_over_time(run)) for name, run in runs],
            x_name="s",
            y_name="ms",
        ),
        "queue.svg": line_chart(
            "Waiting requests",
            [Line(name, [(sample.at, sample.queued) for sample in run.samples]) for name, run in runs],
            x_name="s",
            y_name="",
        ),
        "fleet.svg": line_chart(
            "Machines that a request could be sent to",
            [Line(name, [(sample.at, sample.eligible) for sample in run.samples]) for name, run in runs],
            x_name="s",
            y_name="",
        ),
    }


def _bin_seconds(run: Run) -> float:
    return max(1.0, run.setup.trace_seconds / BINS)


def _good_over_time(run: Run) -> list[tuple[float, float]]:
    width, goal, begin = _bin_seconds(run), run.setup.goal, run.setup.warm_up
    counts: dict[int, int] = {}
    for job in run.tally.jobs:
        index = int((job.started_at - begin) / width)
        counts[index] = counts.get(index, 0) + job.is_good(goal)
    return [(index * width, counts[index] / width) for index in sorted(counts)]


def _ttft_over_time(run: Run) -> list[tuple[float, float]]:
    width, begin = _bin_seconds(run), run.setup.warm_up
    bins: dict[int, list[float]] = {}
    for job in run.tally.jobs:
        if job.served and job.ttft_ms is not None:
            bins.setdefault(int((job.started_at - begin) / width), []).append(job.ttft_ms)
    return [(index * width, percentile(sorted(bins[index]), 0.9) or 0.0) for index in sorted(bins)]
