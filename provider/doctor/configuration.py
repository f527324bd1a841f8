"""Configuration, account link and models, as they lie on the disk."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from provider.account import TokenFile, TokenFileRefused
from provider.config import Configuration
from provider.doctor.finding import Finding, failed, passed, warned
from provider.memory.fit import fits_machine, needed_bytes
from provider.memory.policy import GIB, padded_weights
from provider.models.facts import ModelFacts
from provider.models.hash_cache import FILE_NAME, HashCache, fingerprint
from provider.models.hub import HubCache
from provider.models.scan import LocalModel, scan_models
from provider.models.templates.checker import TemplateChecker
from provider.status.words import gigabytes, plural

MODELS: Final = "models"
CONFIG: Final = "configuration"


def config(configuration: Configuration | None, problems: Sequence[str]) -> Iterator[Finding]:
    """`config`."""
    if configuration is None:
        for problem in problems:
            yield failed(CONFIG, "config", problem, "darkbloom config path")
        return
    if configuration.warnings:
        for warning in configuration.warnings:
            yield warned(CONFIG, "config", warning)
    elif not configuration.file.exists:
        yield warned(CONFIG, "config", f"{configuration.file.path} does not exist; defaults are used")
    else:
        yield passed(CONFIG, "config", str(configuration.file.path))


def account_file(configuration: Configuration) -> Iterator[Finding]:
    """`account link`, as far as the file tells; whether the token is accepted is asked elsewhere."""
    try:
        token = TokenFile(configuration.settings.state_directory).read()
    except TokenFileRefused as refused:
        yield failed(CONFIG, "account link", str(refused))
        return
    if token is None:
        yield warned(
            CONFIG, "account link", "this machine is not linked to an account, it earns nothing", "darkbloom login"
        )
        return
    yield passed(CONFIG, "account link", f"token of {token.coordinator or 'an unnamed coordinator'}")


def models(cache: HubCache, enabled: Sequence[str]) -> Iterator[Finding]:
    """`model cache` and `local models`."""
    if not cache.root.is_dir():
        yield warned(MODELS, "model cache", f"{cache.root} does not exist", "darkbloom models download ID")
        return
    found = scan_models(cache)
    yield passed(MODELS, "model cache", f"{cache.root}, {plural(len(found), 'model')}")
    servable = [model for model in found if model.is_servable]
    missing = [name for name in enabled if name not in {model.model_id for model in servable}]
    if missing:
        yield failed(
            MODELS, "local models", f"enabled and not servable: {', '.join(missing)}", "darkbloom models list --all"
        )
    elif not servable:
        yield warned(MODELS, "local models", "none can be served", "darkbloom models download ID")
    else:
        yield passed(MODELS, "local models", ", ".join(model.model_id for model in servable))


def templates(chosen: Sequence[ModelFacts]) -> Iterator[Finding]:
    """`template render` of the models that are offered."""
    with TemplateChecker() as checker:
        broken = [
            facts.model_id
            for facts in chosen
            if checker.check_folder(facts.directory, is_vision=facts.is_vision) is False
        ]
    if broken:
        yield failed(
            MODELS, "template render", f"the chat template fails: {', '.join(broken)}", "darkbloom models download ID"
        )
    elif chosen:
        yield passed(MODELS, "template render", plural(len(chosen), "template"))


def fit(chosen: Sequence[ModelFacts], physical: int, configuration: Configuration) -> Iterator[Finding]:
    """`model fit`, with its arithmetic."""
    policy = configuration.settings.memory_policy()
    for facts in chosen:
        padded = padded_weights(facts.disk_bytes)
        needed = needed_bytes(padded, physical, policy)
        detail = (
            f"{facts.model_id}: weights {gigabytes(padded / GIB)} GB + headroom "
            f"{gigabytes((needed - padded) / GIB)} GB = {gigabytes(needed / GIB)} GB of {gigabytes(physical / GIB)} GB"
        )
        if fits_machine(padded, physical, policy):
            yield passed(MODELS, "model fit", detail)
        else:
            yield failed(MODELS, "model fit", f"{detail}; it cannot be loaded", "darkbloom switch --model ID")


def integrity(
    chosen: Sequence[ModelFacts], expected: Mapping[str, str], configuration: Configuration
) -> Iterator[Finding]:
    """`weight integrity`: hashes that were taken before, against the catalogue's."""
    cache = HashCache(configuration.settings.state_directory / FILE_NAME)
    for facts in chosen:
        wanted = expected.get(facts.model_id, "")
        known = cache.get(facts.directory, fingerprint(facts.directory))
        if wanted and known and wanted != known:
            yield failed(
                MODELS,
                "weight integrity",
                f"{facts.model_id} differs from the catalogue",
                f"darkbloom models download {facts.model_id}",
            )
        elif wanted and known:
            yield passed(MODELS, "weight integrity", f"{facts.model_id} is as in the catalogue")


def choose(found: Sequence[LocalModel], enabled: Sequence[str]) -> list[ModelFacts]:
    """Give the models that are meant: those enabled, or all that can be served."""
    return [
        model.facts
        for model in found
        if model.is_servable and model.facts is not None and (not enabled or model.model_id in enabled)
    ]
