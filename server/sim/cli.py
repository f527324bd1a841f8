"""`python -m server.sim`: run a scenario or a trace, compare two policies, write the report.

Exit codes: 0 ran, 1 failed, 2 bad input, 64 usage.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec
from msgspec import structs

from server.sim.baseline import BASELINE_SCENARIOS, figures
from server.sim.baseline import write_baseline as baseline_file
from server.sim.catalog import SimModel
from server.sim.errors import SimulationError
from server.sim.fleet import mixed_fleet, read_fleet, write_fleet
from server.sim.page import charts, markdown
from server.sim.policies import parse_settings, setting_names, with_settings
from server.sim.report import Report, make_report
from server.sim.scenarios import SCENARIOS, Scenario, build
from server.sim.seeds import stream
from server.sim.simulation import Policy, Run, Setup, simulate
from server.sim.static import StaticReport, static_report
from server.sim.statistics import percentile
from server.sim.trace import read_trace, write_trace

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_INPUT: Final = 2
EXIT_USAGE: Final = 64
FILE: Final = click.Path(path_type=Path, dir_okay=False)


def main() -> None:
    """Run the command line."""
    try:
        cli.main(prog_name="python -m server.sim", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except click.ClickException as error:
        error.show()
        sys.exit(1)
    except SimulationError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(EXIT_INPUT)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)


@click.command(epilog="Settings: " + ", ".join(setting_names()))
@click.option("--scenario", default="steady", show_default=True, help="Which scenario; --list names them.")
@click.option("--list", "list_scenarios", is_flag=True, help="Name the scenarios and end.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Everything random follows from it.")
@click.option("--trace", type=FILE, help="Replay this NDJSON trace instead of the scenario's load.")
@click.option("--fleet", type=FILE, help="Use the machines of this NDJSON file instead of the scenario's.")
@click.option("--fleet-at", type=click.FloatRange(0), help="The moment of the fleet file to use, in ms.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change a setting of the policy.")
@click.option("--compare", multiple=True, metavar="NAME=VALUE", help="Run again with this changed, and show both.")
@click.option("--static", "is_static", is_flag=True, help="Only ask who could take each request; no time passes.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Write report, charts and JSON here.")
@click.option("--log", type=FILE, help="Write every event of the first run to this file.")
@click.option("--write-trace", type=FILE, help="Write the trace that is used.")
@click.option("--write-fleet", type=FILE, help="Write the fleet that is used.")
@click.option("--write-baseline", type=FILE, help="Run the scenarios of the baseline, write their figures, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of Markdown.")
def cli(
    scenario: str,
    list_scenarios: bool,
    seed: int,
    trace: Path | None,
    fleet: Path | None,
    fleet_at: float | None,
    settings: tuple[str, ...],
    compare: tuple[str, ...],
    is_static: bool,
    out: Path | None,
    log: Path | None,
    write_trace: Path | None,
    write_fleet: Path | None,
    write_baseline: Path | None,
    as_json: bool,
) -> None:
    """Replay load against the coordinator's routing in virtual time, and say how it went.

    The same input gives the same report, to the last byte; only the time that decisions took, printed on standard
    error, is of this machine.
    """
    if list_scenarios:
        for name, builder in SCENARIOS.items():
            click.echo(f"{name:12} {(builder.__doc__ or '').strip()}")
        return
    if write_baseline is not None:
        _write_figures(write_baseline, seed)
        return
    chosen = _chosen(scenario, seed, trace, fleet, fleet_at)
    _write_inputs(chosen.setup, write_trace, write_fleet)
    policy = with_settings(chosen.policy, parse_settings(settings))
    if is_static:
        _show(static_report(chosen.setup, policy), as_json=as_json)
        return
    policies = [(" ".join(settings) or "policy", policy)]
    if compare:
        policies.append((" ".join(compare), with_settings(policy, parse_settings(compare))))
    runs = [
        (name, _timed(chosen.setup, one, log if not number else None)) for number, (name, one) in enumerate(policies)
    ]
    reports = [(name, make_report(run)) for name, run in runs]
    drawn = charts(runs) if out is not None else {}
    text = markdown(reports, sorted(drawn))
    as_bytes = _encoded(reports)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.md").write_text(text)
        (out / "report.json").write_bytes(as_bytes)
        for name, svg in drawn.items():
            (out / name).write_text(svg)
    click.echo(as_bytes.decode() if as_json else text, nl=False)


def _chosen(name: str, seed: int, trace: Path | None, fleet: Path | None, fleet_at: float | None) -> Scenario:
    chosen = build(name, seed)
    setup = chosen.setup
    if fleet is not None:
        setup = structs.replace(setup, machines=read_fleet(fleet, at_ms=fleet_at), events=())
    if trace is not None:
        arrivals = read_trace(trace)
        models = _models(setup.models, (arrival.model for arrival in arrivals))
        setup = structs.replace(setup, name=trace.stem, arrivals=arrivals, models=models)
        if fleet is None:
            names = [model.id for model in models]
            machines = mixed_fleet(len(setup.machines), stream(seed, "fleet"), models=names)
            setup = structs.replace(setup, machines=machines, events=())
    return Scenario(setup=setup, policy=chosen.policy)


def _models(known: Sequence[SimModel], asked: object) -> list[SimModel]:
    """The scenario's models, and an ordinary one for every other name of the trace."""
    by_name = {model.id: model for model in known}
    names = dict.fromkeys(asked)  # type: ignore[call-overload]
    return [by_name.get(name) or SimModel(id=name) for name in names]


def _write_inputs(setup: Setup, trace: Path | None, fleet: Path | None) -> None:
    if trace is not None:
        write_trace(trace, setup.arrivals)
    if fleet is not None:
        write_fleet(fleet, setup.machines)


def _write_figures(path: Path, seed: int) -> None:
    """Run the scenarios that later versions are held to, and keep their figures."""
    found = {}
    for name in BASELINE_SCENARIOS:
        scenario = build(name, seed)
        found[name] = figures(make_report(_timed(scenario.setup, scenario.policy, None)))
    baseline_file(path, found)


def _timed(setup: Setup, policy: Policy, log: Path | None) -> Run:
    """Run, and say on standard error what it cost: that is the only thing which differs between two equal runs."""
    started = time.process_time()
    if log is None:
        run = simulate(setup, policy)
    else:
        with log.open("w") as file:
            run = simulate(setup, policy, log=file)
    seconds = time.process_time() - started
    decisions = sorted(run.tally.decision_ns)
    middle, late = percentile(decisions, 0.5) or 0, percentile(decisions, 0.99) or 0
    calls = sum(job.tries for job in run.tally.jobs)
    rate = 60 * calls / max(seconds, 1e-9)
    click.echo(
        f"{seconds:.1f} CPU-s for {calls} calls ({rate:.0f} a CPU-minute), {run.steps} steps, "
        f"{len(decisions)} decisions, {middle / 1000:.0f} µs p50, {late / 1000:.0f} µs p99",
        err=True,
    )
    return run


def _show(report: StaticReport, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
        return
    click.echo(f"{report.machines} machines: " + ", ".join(f"{count} {name}" for name, count in report.counts.items()))
    for bucket in report.buckets:
        high = "more" if bucket.high is None else str(bucket.high)
        click.echo(
            f"  {bucket.low:>5} to {high:>5} tokens: {bucket.count:>7}, accepted {bucket.accept_rate:.3f}, "
            f"too slow {bucket.ttft_reject_rate:.3f}"
        )
    click.echo(f"cliff: {report.cliff or 'none'}")


def _encoded(reports: Sequence[tuple[str, Report]]) -> bytes:
    shown = {"runs": [{"policy": name, "report": report} for name, report in reports]}
    return msgspec.json.format(msgspec.json.encode(shown)) + b"\n"
