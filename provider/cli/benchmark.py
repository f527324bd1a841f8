"""`darkbloom benchmark`: how fast this machine runs a model."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from provider.cli.examples import examples
from provider.cli.exits import FAILURE, OK, CommandFailed
from provider.cli.models_shared import find_local, open_cache
from provider.cli.session import json_option, print_json

if TYPE_CHECKING:
    from provider.benchmark import BenchmarkOptions, BenchmarkReport
    from provider.config import ProviderSettings
    from provider.models.facts import ModelFacts

DEMO = "demo"
MAX_BATCH = 24


@click.command(
    name="benchmark",
    epilog=examples(
        "darkbloom benchmark",
        "darkbloom benchmark --model demo --batch-sizes 1,4 --json",
        "darkbloom benchmark --model mlx-community/Qwen3-8B-4bit --save",
        'darkbloom benchmark --prompt "Why is the sky blue?" --max-tokens 200',
    ),
)
@click.option(
    "--model", "wanted", metavar="ID | DIRECTORY | demo", help="Default: `backend.model`, else the largest that fits."
)
@click.option("--iterations", type=click.IntRange(1, 100), default=3, show_default=True, help="Runs of every figure.")
@click.option("--sweep", is_flag=True, help="Prompt lengths and batch sizes; this is the default.")
@click.option("--prefill-lengths", default="128,512,2048", show_default=True, help="Prompt lengths in tokens.")
@click.option("--batch-sizes", default="1,2,4,8,16", show_default=True, help=f"Rows at a time, up to {MAX_BATCH}.")
@click.option(
    "--decode-tokens", type=click.IntRange(2, 8192), default=64, show_default=True, help="Tokens of each row."
)
@click.option("--prompt", help="Measure this one prompt instead.")
@click.option("--max-tokens", type=click.IntRange(1, 8192), default=128, show_default=True, help="With --prompt.")
@click.option("--arrival", is_flag=True, help="Compare a burst of four rows with staggered ones instead.")
@click.option("--save", is_flag=True, help="Keep the speeds for the registration of this machine.")
@click.option("--force", is_flag=True, help="Measure although the provider is running.")
@json_option
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the JSON to a file too.")
def command(
    wanted: str | None,
    iterations: int,
    sweep: bool,
    prefill_lengths: str,
    batch_sizes: str,
    decode_tokens: int,
    prompt: str | None,
    max_tokens: int,
    arrival: bool,
    save: bool,
    force: bool,
    as_json: bool,
    output: Path | None,
) -> int:
    """Measure prefill, decoding, the time to the first token, and what batches bring.

    Runs the engine that serves requests, greedy and without stored prefixes. Stop the provider first: the two would
    share the machine.
    """
    if sum((sweep, prompt is not None, arrival)) > 1:
        raise click.UsageError("Choose one of --sweep, --prompt and --arrival.")
    from provider.benchmark.plan import BenchmarkPlan, parse_sizes

    try:
        lengths, batches = parse_sizes(prefill_lengths), parse_sizes(batch_sizes, maximum=MAX_BATCH)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    from provider.cli.engine_installed import require_engine

    require_engine()
    from provider.benchmark import BenchmarkOptions

    configuration, _cache = open_cache()
    settings = configuration.settings
    if not force:
        _refuse_beside_daemon(settings)
    model_id, directory = _find(settings, wanted or settings.preferred_model)
    options = BenchmarkOptions(
        model_id=model_id,
        directory=directory,
        mode="arrival" if arrival else "prompt" if prompt is not None else "table",
        plan=BenchmarkPlan(
            iterations=iterations, prefill_lengths=lengths, batch_sizes=batches, decode_tokens=decode_tokens
        ),
        prompt=prompt or "",
        max_tokens=max_tokens,
        memory=settings.memory_policy(),
    )
    report = _measure(options)
    return _finish(report, settings, as_json=as_json, output=output, save=save)


def _measure(options: "BenchmarkOptions") -> "BenchmarkReport":
    """Run it behind a status line on standard error."""
    import trio
    from rich.console import Console

    from provider.benchmark import run_benchmark
    from provider.benchmark.measure import MeasurementFailed
    from provider.models.load import LoadFailed

    console = Console(stderr=True)
    try:
        with console.status(f"{options.model_id}: loading") as status:

            def show(step: str) -> None:
                status.update(f"{options.model_id}: {step}")

            return trio.run(lambda: run_benchmark(options, progress=show))
    except (LoadFailed, MeasurementFailed) as failed:
        raise CommandFailed(str(failed)) from None


def _finish(
    report: "BenchmarkReport", settings: "ProviderSettings", *, as_json: bool, output: Path | None, save: bool
) -> int:
    import json
    import time

    from provider.benchmark import SavedSpeeds, save_speeds
    from provider.benchmark.show import table

    document = report.as_json()
    if output is not None:
        try:
            output.write_text(json.dumps(document, indent=2) + "\n")
        except OSError as error:
            raise CommandFailed(f"The file {output} cannot be written ({error.strerror}).") from None
    if as_json:
        print_json(document)
    else:
        click.echo(table(report))
    if save:
        if report.prefill_tps is None or report.decode_tps is None:
            raise CommandFailed("Nothing to save: measure prompts and batch size 1.", fix="darkbloom benchmark --save")
        speeds = SavedSpeeds(prefill_tps=report.prefill_tps, decode_tps=report.decode_tps, measured_at=int(time.time()))
        save_speeds(settings.state_directory, report.facts.model, speeds)
        click.echo("Saved; the next start of the provider registers these speeds.", err=True)
    differs = report.parity is False or (report.arrival is not None and not report.arrival.same_output)
    return FAILURE if differs else OK


def _refuse_beside_daemon(settings: "ProviderSettings") -> None:
    from provider.daemon.lock import LockHeld, take_provider_lock

    try:
        take_provider_lock(settings.state_directory).release()
    except LockHeld:
        raise CommandFailed(
            "The provider is running; its requests and the measurement would slow each other down.",
            fix="darkbloom stop, or add --force",
        ) from None
    except OSError as error:
        raise CommandFailed(f"The directory {settings.state_directory} cannot be used ({error.strerror}).") from None


def _find(settings: "ProviderSettings", wanted: str | None) -> tuple[str, Path]:
    """(id, folder) of the model to measure."""
    from provider.demo import DEMO_MODEL_ID, demo_model_path

    if wanted == DEMO:
        return DEMO_MODEL_ID, demo_model_path()
    if wanted is not None and Path(wanted).expanduser().is_dir():
        directory = Path(wanted).expanduser()
        return directory.resolve().name, directory
    from provider.models.hub import HubCache
    from provider.models.scan import scan_models

    found = [model for model in scan_models(HubCache(settings.models_directory)) if model.facts is not None]
    if wanted is not None:
        chosen = find_local(found, wanted)
        assert chosen.facts is not None
        return chosen.model_id, chosen.facts.directory
    fitting = _largest_that_fits(settings, [model.facts for model in found if model.is_servable and model.facts])
    if fitting is None:
        raise CommandFailed(
            "No model on this machine fits into its memory now.",
            fix="darkbloom benchmark --model demo, or darkbloom models download ID",
        )
    return fitting


def _largest_that_fits(settings: "ProviderSettings", found: "list[ModelFacts]") -> tuple[str, Path] | None:
    from provider.memory.allocator import MlxAllocator
    from provider.memory.gate import MemoryGate
    from provider.memory.policy import padded_weights
    from provider.memory.system import open_system_memory

    gate = MemoryGate(open_system_memory(), MlxAllocator(), settings.memory_policy())
    facts = sorted(found, key=lambda each: each.disk_bytes, reverse=True)
    return next(
        ((each.model_id, each.directory) for each in facts if gate.may_load(padded_weights(each.disk_bytes))), None
    )
