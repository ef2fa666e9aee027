"""The arguments of RouteLLM's Controller -> sections of a job. Keys stay apart from them, under made-up names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from batchroute.errors import RoutingError, UsageFault
from batchroute.job.prices import open_targets
from batchroute.job.secrets import Secret
from batchroute.job.spec import Job, RouterSpec
from batchroute.run.open import refuse_unpriced
from batchroute.score.api.rate import EmbedContext, rater_opener
from batchroute.send.budget import Budget
from batchroute.store.ledger import Ledger
from batchroute.types import SIDES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batchroute.score.rater import OpenRater
    from batchroute.score.router import Scorer
    from batchroute.types import Side

    Settings = Mapping[str, Any]

OPENAI = "https://api.openai.com/v1"
BUILTIN_ROUTERS = ("mf", "random", "length")
# What RouteLLM's config says of a checkpoint, and ours reads from the checkpoint itself.
_SHAPES = frozenset({"hidden_size", "num_models", "text_dim", "num_classes", "use_proj"})
_RENAMED = {"checkpoint_path": "model", "strong_model": "strong", "weak_model": "weak"}


@dataclass(frozen=True, slots=True)
class ModelPair:
    """Two endpoints as a job, and the keys that were given as text, by the variable that stands for each."""

    job: Job
    keys: dict[str, Secret]

    def environ(self) -> dict[str, str]:
        """The process's environment with those keys in it."""
        return {**os.environ, **{name: key.reveal() for name, key in self.keys.items()}}


def read_pair(
    models: Mapping[Side, str],
    own: Mapping[Side, Settings],
    limits: Settings,
    api_base: str | None,
    api_key: str | None,
) -> ModelPair:
    """The pair of these models; `own` settings of a side go before what both share. RoutingError where wrong."""
    endpoints: dict[str, dict[str, Any]] = {}
    keys: dict[str, Secret] = {}
    for side in SIDES:
        settings = {**own[side], "model": models[side]}
        key = settings.pop("api_key", None)
        key = api_key if key is None and "api_key_env" not in settings else key
        if "simulate" not in settings:
            settings |= _address(settings, api_base, given=key is not None)
            if key is not None:
                settings["api_key_env"] = f"BATCHROUTE_CONTROLLER_{side.upper()}_KEY"
                keys[settings["api_key_env"]] = Secret(key)
        endpoints[side] = settings
    return ModelPair(_job(endpoints, limits), keys)


def open_memory_budget(pair: ModelPair, routers: Iterable[LoadedRouter]) -> Budget | None:
    """limits.max_cost_usd for as long as this process keeps it; RoutingError where it could not hold."""
    limits = pair.job.limits
    if limits.max_cost_usd is None:
        return None
    if limits.on_budget != "stop":
        raise RoutingError('limits.on_budget: a Controller can only stop at its budget; set it to "stop"')
    for router in routers:
        try:
            refuse_unpriced(pair.job.model_copy(update={"router": router.spec}), open_targets(pair.job.endpoints))
        except UsageFault as fault:
            raise RoutingError(str(fault)) from None
    return Budget(limits.max_cost_usd, Decimal(0), Ledger(), lambda ledger: None)


def _address(settings: Settings, api_base: str | None, *, given: bool) -> dict[str, str]:
    """Where a side is that does not say so itself; the key in OPENAI_API_KEY goes to OpenAI alone."""
    if "base_url" in settings or api_base is not None:
        return {"base_url": settings.get("base_url", api_base)}
    has_key = given or "api_key_env" in settings
    return {"base_url": OPENAI} | ({} if has_key else {"api_key_env": "OPENAI_API_KEY"})


def _job(endpoints: Settings, limits: Settings) -> Job:
    """A job whose input and output are never batch_input at."""
    nowhere = {"path": os.devnull}
    routing = {"threshold": 0.5}
    rows = {**nowhere, "params": "params"}  # each call brings its own, also the bound that a budget needs
    sections = {"input": rows, "output": nowhere, "routing": routing, "endpoints": endpoints, "limits": limits}
    try:
        return Job.model_validate(sections)
    except ValidationError as error:
        raise RoutingError(_in_words(error)) from None


def _in_words(error: ValidationError) -> str:
    """What is wrong with the settings, which are not quoted: a key may stand among them."""
    faults = error.errors(include_url=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)


@dataclass(frozen=True, slots=True)
class LoadedRouter:
    """A router and its settings."""

    spec: RouterSpec
    scorer: Scorer

    def rater_opener(self, pair: ModelPair, budget: Budget | None) -> OpenRater:
        """How its texts get their scores; an embeddings API takes its key from the environment."""
        return rater_opener(self.spec, EmbedContext(pair.environ(), pair.job.limits, lambda words: None, budget))


def load_router(name: str, config: Settings) -> LoadedRouter:
    """The router of this name; `config` holds its settings as in [router], or as RouteLLM names them.

    RoutingError for a name or a setting that is none, ModelFault for a model that cannot be used.
    """
    if name not in BUILTIN_ROUTERS and ":" not in name:
        known = ", ".join(BUILTIN_ROUTERS)
        raise RoutingError(f"there is no router {name!r}; there are {known} and package.module:Class")
    settings = {_RENAMED.get(key, key): value for key, value in config.items() if key not in _SHAPES}
    if "model" in settings:
        settings["model"] = str(settings["model"])
        settings.setdefault("embedder", _embedder_of(Path(settings["model"])))
    try:
        spec = RouterSpec.model_validate({**settings, "use": name})
    except ValidationError as error:
        raise RoutingError(f"router {name!r}: {_in_words(error)}") from None
    from batchroute.score.router import load_scorer  # noqa: PLC0415 - imports torch

    return LoadedRouter(spec, load_scorer(spec))


def _embedder_of(checkpoint: Path) -> dict[str, str]:
    """The embedder a checkpoint was trained on: RouteLLM's own do not say, and read OpenAI's vectors."""
    from batchroute.score.checkpoint import read_checkpoint  # noqa: PLC0415 - imports torch

    said = read_checkpoint(checkpoint).embedder
    if said is None:
        return {"use": "openai"}
    use, _, model = said.partition(":")
    if use in {"openai", "sentence-transformers"}:
        return {"use": use, "model": model}
    return {"use": said if ":" in said else "builtin"}
