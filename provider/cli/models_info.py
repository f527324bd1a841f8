"""`darkbloom models info`."""

from typing import TYPE_CHECKING

import click

from provider.cli.examples import examples
from provider.cli.exits import OK
from provider.cli.models_list import state_text
from provider.cli.models_shared import find_local, open_cache, size_text
from provider.cli.session import json_option, print_json

if TYPE_CHECKING:
    from provider.config import ProviderSettings
    from provider.models.facts import ModelFacts
    from provider.models.scan import LocalModel

_VERDICTS = {True: "renders", False: "broken: the coordinator sends this model no requests", None: "none found"}


@click.command(name="info", epilog=examples("darkbloom models info mlx-community/Qwen3-8B-4bit"))
@click.argument("model_id", metavar="ID")
@json_option
def command(model_id: str, as_json: bool) -> int:
    """Show what a model on this machine is, whether its chat template works, and whether it fits into memory."""
    from provider.models.scan import scan_models

    configuration, cache = open_cache()
    model = find_local(scan_models(cache), model_id)
    described = _described(model, configuration.settings)
    if as_json:
        print_json(described)
        return OK
    click.echo(model.model_id)
    click.echo(f"  state       {state_text(model)}")
    if model.facts is not None:
        for name, text in _lines(model.facts, described):
            click.echo(f"  {name:<11} {text}")
    return OK


def _described(model: "LocalModel", settings: "ProviderSettings") -> dict[str, object]:
    described: dict[str, object] = {"id": model.model_id, "state": model.state, "reason": model.reason}
    facts = model.facts
    if facts is None:
        return described
    from provider.memory import policy
    from provider.memory.allocator import MlxAllocator
    from provider.memory.fit import fits_machine
    from provider.memory.gate import MemoryGate
    from provider.memory.system import open_system_memory
    from provider.models.templates.checker import TemplateChecker

    memory = open_system_memory()
    gate = MemoryGate(memory, MlxAllocator(), settings.memory_policy())
    padded = policy.padded_weights(facts.disk_bytes)
    with TemplateChecker() as checker:
        renders = checker.check_folder(facts.directory, is_vision=facts.is_vision)
    return described | {
        "snapshot": str(facts.directory),
        "size_bytes": facts.disk_bytes,
        "model_type": facts.model_type,
        "quantization": facts.quantization,
        "layers": facts.layers,
        "max_context_length": facts.context_tokens,
        "kv_bytes_per_token": facts.kv_bytes_per_token,
        "is_vision": facts.is_vision,
        "template_render_ok": renders,
        "estimated_memory_gb": round(facts.estimated_memory_gb, 3),
        "fits_machine": fits_machine(padded, memory.physical(), settings.memory_policy()),
        "loads_now": gate.may_load(padded),
        "free_for_load_gb": round(gate.largest_load(reclaimable=0) / policy.GIB, 3),
        "load_headroom_gb": round(gate.reserves(padded).load_headroom / policy.GIB, 3),
    }


def _lines(facts: "ModelFacts", described: dict[str, object]) -> list[tuple[str, str]]:
    verdict = described["template_render_ok"]
    memory = f"{facts.estimated_memory_gb:.1f} GiB for the weights and {described['load_headroom_gb']} GiB to work with"
    if described["loads_now"]:
        fit = "loads now"
    elif described["fits_machine"]:
        fit = f"fits this machine, but now only {described['free_for_load_gb']} GiB of weights would"
    else:
        fit = "does not fit this machine"
    return [
        ("snapshot", str(facts.directory)),
        ("size", size_text(facts.disk_bytes)),
        ("network", f"{facts.model_type or 'unknown'}, {facts.layers or '?'} layers, {facts.quantization or 'full'}"),
        ("context", f"{facts.context_tokens or 'unknown'} tokens, {size_text(facts.kv_bytes_per_token)} each"),
        ("template", _VERDICTS[verdict if isinstance(verdict, bool) else None]),
        ("memory", memory),
        ("fit", fit),
    ]
