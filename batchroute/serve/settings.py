"""The arguments of RouteLLM's Controller -> sections of a job. Keys stay apart from them, under made-up names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from batchroute.errors import RoutingError
from batchroute.job.prices import open_embedder_target, open_targets
from batchroute.job.rules import contradictions
from batchroute.job.secrets import Scrubber, Secret
from batchroute.job.spec import Endpoints, Limits, RouterSpec
from batchroute.score.api.rate import EmbedContext, rater_opener
from batchroute.score.checkpoint import read_checkpoint
from batchroute.score.router import load_scorer
from batchroute.send.budget import Account, Budget
from batchroute.send.open import asks_for_vectors, secrets_of
from batchroute.store.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batchroute.score.rater import OpenRater
    from batchroute.score.router import Scorer

    Settings = Mapping[str, Any]

OPENAI = "https://api.openai.com/v1"
BUILTIN_ROUTERS = ("mf", "random", "length")
# RouteLLM's config repeats what the checkpoint holds.
_SHAPES = frozenset({"hidden_size", "num_models", "text_dim", "num_classes", "use_proj"})
_RENAMED = {"checkpoint_path": "model", "strong_model": "strong", "weak_model": "weak"}


@dataclass(frozen=True, slots=True)
class ModelPair:
    """Two endpoints, and the keys that were given as text, by the variable that stands for each."""

    endpoints: Endpoints
    limits: Limits
    keys: dict[str, Secret]

    def environ(self) -> dict[str, str]:
        """The process's environment with those keys in it."""
        return {**os.environ, **{name: key.reveal() for name, key in self.keys.items()}}

    def secrets(self) -> list[Secret]:
        """All keys of the endpoints."""
        return secrets_of((spec for _, spec in self.endpoints.items()), self.environ())


def read_pair(
    own: Mapping[str, Settings], limits: Settings, api_base: str | None, api_key: str | None
) -> ModelPair:
    """The endpoints by name; their `own` settings go before what both share. RoutingError where wrong."""
    endpoints: dict[str, dict[str, Any]] = {}
    keys: dict[str, Secret] = {}
    for name, given in own.items():
        settings = {**given}
        key = settings.pop("api_key", None)
        key = api_key if key is None and "api_key_env" not in settings else key
        if "simulate" not in settings:
            settings |= _address(settings, api_base, given=key is not None)
            if key is not None:
                settings["api_key_env"] = f"BATCHROUTE_CONTROLLER_{name.upper()}_KEY"
                keys[settings["api_key_env"]] = Secret(key)
        endpoints[name] = settings
    return ModelPair(*_checked(endpoints, limits), keys)


def open_memory_budget(pair: ModelPair, routers: Iterable[LoadedRouter]) -> Budget | None:
    """limits.max_cost_usd for as long as this process keeps it; RoutingError where it could not hold."""
    if pair.limits.max_cost_usd is None:
        return None
    if pair.limits.on_budget != "stop":
        raise RoutingError('limits.on_budget: a Controller can only stop at its budget; set it to "stop"')
    targets = open_targets(pair.endpoints)
    for router in routers:
        if asks_for_vectors(router.spec):
            targets[f"config.{router.spec.use}.embedder"] = open_embedder_target(router.spec.embedder)
    unknown = [f"{name}.price" for name, target in targets.items() if target.list_price is None]
    if unknown:
        needed = ", ".join(unknown)
        raise RoutingError(f"limits.max_cost_usd needs prices: set {needed}, in USD per million tokens")
    return Budget(pair.limits.max_cost_usd, Account(Decimal(0), Ledger(), lambda ledger: None))


def _address(settings: Settings, api_base: str | None, *, given: bool) -> dict[str, str]:
    """Where an endpoint is that does not say so itself; the key in OPENAI_API_KEY goes to OpenAI alone."""
    if "base_url" in settings or api_base is not None:
        return {"base_url": settings.get("base_url", api_base)}
    has_key = given or "api_key_env" in settings
    return {"base_url": OPENAI} | ({} if has_key else {"api_key_env": "OPENAI_API_KEY"})


def _checked(endpoints: Settings, limits: Settings) -> tuple[Endpoints, Limits]:
    """As the sections of a job file; every fault at once."""
    sections = {"endpoints": endpoints, "limits": limits}
    # A call brings its own params and gets the whole answer back, as a line of a batch does.
    as_batch_lines = {**sections, "input": {"format": "openai-batch"}, "output": {"raw": True}}
    faults = [_fault(loc, what) for loc, what in contradictions(as_batch_lines, tuple(endpoints))]
    checked: list[Any] = []
    for name, model in (("endpoints", Endpoints), ("limits", Limits)):
        try:
            checked.append(model.model_validate(sections[name]))
        except ValidationError as error:
            faults += _faults(error, name)
    if faults:
        raise RoutingError("; ".join(faults))
    return checked[0], checked[1]


def _faults(error: ValidationError, *section: str) -> list[str]:
    """What is wrong with the settings, which are not quoted: a key may be among them."""
    found = error.errors(include_url=False, include_input=False)
    return [_fault((*section, *fault["loc"]), fault["msg"]) for fault in found]


def _fault(loc: Sequence[str | int], what: str) -> str:
    return f"{'.'.join(map(str, loc))}: {what}"


@dataclass(frozen=True, slots=True)
class LoadedRouter:
    """A router and its settings."""

    spec: RouterSpec
    scorer: Scorer

    def rater_opener(self, pair: ModelPair, budget: Budget | None) -> OpenRater:
        """How its texts get their scores; an embeddings API takes its key from the environment."""
        scrub = Scrubber(secret.reveal() for secret in pair.secrets())
        context = EmbedContext(pair.environ(), pair.limits, lambda words: None, budget, scrub=scrub)
        return rater_opener(self.spec, context)


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
        raise RoutingError(f"router {name!r}: {'; '.join(_faults(error))}") from None
    return LoadedRouter(spec, load_scorer(spec))


def _embedder_of(checkpoint: Path) -> dict[str, str]:
    """The embedder a checkpoint was trained on: RouteLLM's own do not say, and read OpenAI's vectors."""
    embedder = read_checkpoint(checkpoint).embedder
    if embedder is None:
        return {"use": "openai"}
    use, _, model = embedder.partition(":")
    if use in {"openai", "sentence-transformers"}:
        return {"use": use, "model": model}
    return {"use": embedder if ":" in embedder else "builtin"}
