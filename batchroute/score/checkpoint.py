"""Model files: RouteLLM's matrix-factorisation checkpoints read, ours read and written.

Knows the shapes, the keys and the names of a model's table; nothing of prompts, devices or scores. Read without
torch, which takes longer to import than to score a small file: `check` and whoever has all scores never need it.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from batchroute.errors import ModelFault
from batchroute.store.files import AS_UMASK_SAYS, make_directory, write_together

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from batchroute.types import Floats

FORMAT = 1
ROUTER = "mf"  # of every model that can be read; a card without it is of an mf model
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "batchroute.json"
PICKLED_WEIGHTS = "pytorch_model.bin"
# Numbers that numpy has a type for; torch reads the others, such as BF16.
_NUMPY_TYPES = {"F64", "F32", "F16"}
_LEAST_NORM = 1e-12  # as torch's normalize has it: a row of zeros stays one
# What the libraries raise for files that are cut short, or that hold something else.
_UNREADABLE = (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, LookupError)

# P, W and w: RouteLLM's published keys, then those of its training script.
KEYS = (
    ("P.weight",),
    ("text_proj.0.weight", "text_proj.weight"),
    ("classifier.0.weight", "classifier.weight"),
)

# Row i of a 64-row table without names of its own belongs to the i-th of these (RouteLLM's MODEL_IDS).
ROUTELLM_MODELS = tuple(  # one string: 64 quoted names would be a screen of quotes
    """RWKV-4-Raven-14B alpaca-13b chatglm-6b chatglm2-6b chatglm3-6b claude-1 claude-2.0 claude-2.1
    claude-instant-1 codellama-34b-instruct deepseek-llm-67b-chat dolly-v2-12b dolphin-2.2.1-mistral-7b
    falcon-180b-chat fastchat-t5-3b gemini-pro gemini-pro-dev-api gpt-3.5-turbo-0125 gpt-3.5-turbo-0314
    gpt-3.5-turbo-0613 gpt-3.5-turbo-1106 gpt-4-0125-preview gpt-4-0314 gpt-4-0613 gpt-4-1106-preview
    gpt4all-13b-snoozy guanaco-33b koala-13b llama-13b llama-2-13b-chat llama-2-70b-chat llama-2-7b-chat
    llama2-70b-steerlm-chat mistral-7b-instruct mistral-7b-instruct-v0.2 mistral-medium
    mixtral-8x7b-instruct-v0.1 mpt-30b-chat mpt-7b-chat nous-hermes-2-mixtral-8x7b-dpo oasst-pythia-12b
    openchat-3.5 openchat-3.5-0106 openhermes-2.5-mistral-7b palm-2 pplx-70b-online pplx-7b-online qwen-14b-chat
    qwen1.5-4b-chat qwen1.5-72b-chat qwen1.5-7b-chat solar-10.7b-instruct-v1.0 stablelm-tuned-alpha-7b
    starling-lm-7b-alpha stripedhyena-nous-7b tulu-2-dpo-70b vicuna-13b vicuna-33b vicuna-7b wizardlm-13b
    wizardlm-70b yi-34b-chat zephyr-7b-alpha zephyr-7b-beta""".split()  # noqa: SIM905  (see above)
)


@dataclass(frozen=True, slots=True)
class Card:
    """What stands in batchroute.json: whose rows the table has, what it reads, where it comes from.

    `evaluation` holds the figures its trainer measured, for people; it goes into the card as it is.
    """

    models: tuple[str, ...]
    embedder: str
    dimension: int
    data: str
    licence: str
    seed: int
    evaluation: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A matrix-factorisation model: P [models, dim], W [dim, text_dim], w [dim], all float64.

    `embedder` is the identity of the embedder it was trained on, None where the file does not say; `digest`
    names the weights wherever they lie.
    """

    names: tuple[str, ...]
    models: Floats
    projection: Floats
    classifier: Floats
    embedder: str | None
    digest: str
    path: Path

    def folded(self, strong: str, weak: str) -> Floats:
        """[text_dim] float64: the one vector v with score = sigmoid(e . v) for this pair of models.

        w . ((P_strong - P_weak) * (W e)) = (W^T ((P_strong - P_weak) * w)) . e, rows of P normalised.
        """
        # Why W e is never taken: a model of dim = 2, text_dim = 3, with w = (2, 4), W = [[1, 0, 3], [0, 5, 1]] and
        # normalised rows P_strong = (1, 0), P_weak = (0, 1).
        #
        #   (P_strong - P_weak) * w = (2, -4)        the same for every prompt ...
        #   v = W^T (2, -4) = (2, -20, 2)            ... and so is this: W is multiplied once a job
        #
        # For a prompt with e = (1, 0, 1) RouteLLM takes W e = (4, 1), then (2, -4) . (4, 1) = 4. Here v . e =
        # 2 + 0 + 2 = 4. At RouteLLM's 128 x 1536 that is 1,536 products a prompt in place of 196,736; and of the
        # built-in embedder's 262,202 numbers only the few hundred that are not 0 are ever looked at.
        first, second = self._row(strong), self._row(weak)
        vector: Floats = self.projection.T @ ((first - second) * self.classifier)
        return vector

    def _row(self, name: str) -> Floats:
        """The model's row of P, normalised."""
        if name not in self.names:
            known = ", ".join(self.names[:8]) + (", ..." if len(self.names) > 8 else "")
            raise ModelFault(f"{self.path}: no model named {name!r} in its table; it has {known}")
        row = self.models[self.names.index(name)]
        normalised: Floats = row / max(float(np.linalg.norm(row)), _LEAST_NORM)
        return normalised


def read_checkpoint(path: Path) -> Checkpoint:
    """A directory or a single file in any form of RouteLLM's, or one of ours; ModelFault says what is wrong."""
    card = _read_json(path / CARD) if path.is_dir() else {}
    if card.get("router", ROUTER) != ROUTER:
        raise ModelFault(
            f"{path}: {CARD} names the router {card['router']!r}; only models of {ROUTER} can be read"
        )
    tensors = _read_tensors(_weights_file(path))
    models, projection, classifier = (_find_array(path, tensors, keys) for keys in KEYS)
    _check_shapes(path, models, projection, classifier)
    _check_config(path, models, projection)
    return Checkpoint(
        names=_names(path, card, len(models)),
        models=models,
        projection=projection,
        classifier=classifier[0],
        embedder=_embedder(path, card, projection.shape[1]),
        digest=_digest(models, projection, classifier),
        path=path,
    )


def write_checkpoint(directory: Path, weights: Mapping[str, Tensor], card: Card) -> None:
    """The two files RouteLLM reads and batchroute.json; `weights` by RouteLLM's keys, in the type to be stored."""
    dim, text_dim = weights["text_proj.0.weight"].shape
    config = {"dim": dim, "num_models": len(card.models), "text_dim": text_dim, "num_classes": 1, "use_proj": True}
    about = {
        "format": FORMAT,
        "router": ROUTER,
        "models": list(card.models),
        "embedder": {"identity": card.embedder, "dimension": card.dimension},
        "data": card.data,
        "licence": card.licence,
        "seed": card.seed,
        "evaluation": card.evaluation,
    }
    make_directory(directory, 0o777)  # less what the umask takes away
    # The weights come last: without them there is no model, while one without a card would pass for RouteLLM's.
    from safetensors.torch import save  # noqa: PLC0415 - imports torch, which trained them

    contents = {CONFIG: _json(config), CARD: _json(about), WEIGHTS: save(dict(weights))}
    write_together(directory, contents, mode=AS_UMASK_SAYS)


def _json(table: Mapping[str, object]) -> bytes:
    return json.dumps(table, indent=2).encode() + b"\n"


def _weights_file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise ModelFault(f"{path}: there is no such model directory or file")
    for name in (WEIGHTS, PICKLED_WEIGHTS):
        if (path / name).is_file():
            return path / name
    raise ModelFault(f"{path}: the model directory has neither {WEIGHTS} nor {PICKLED_WEIGHTS}")


def _read_tensors(file: Path) -> Mapping[str, Any]:
    """Arrays, or tensors, which become arrays when they are needed."""
    try:
        if file.suffix == ".safetensors" and _types_in(file) <= _NUMPY_TYPES:
            return load_file(file)
        loaded = _read_with_torch(file)
    except _UNREADABLE as fault:
        raise ModelFault(f"{file}: the weights cannot be read: {str(fault).splitlines()[0]}") from fault
    if not isinstance(loaded, dict):
        raise ModelFault(f"{file}: holds a {type(loaded).__name__} where a table of weights was expected")
    return loaded


def _types_in(file: Path) -> set[str]:
    with safe_open(file, "numpy") as opened:
        return {opened.get_slice(key).get_dtype() for key in opened.keys()}  # noqa: SIM118 - it has no __iter__


def _read_with_torch(file: Path) -> object:
    import torch  # noqa: PLC0415 - slow to import
    from safetensors.torch import load_file as load_tensors  # noqa: PLC0415 - imports torch

    if file.suffix == ".safetensors":
        return load_tensors(file)
    return torch.load(file, map_location="cpu", weights_only=True)


def _find_array(path: Path, tensors: Mapping[str, Any], keys: tuple[str, ...]) -> Floats:
    for key in keys:
        if key in tensors:
            array = _float64(tensors[key])
            if not np.isfinite(array).all():
                raise ModelFault(f"{path}: {key} holds NaN or infinite weights")
            return array
    raise ModelFault(f"{path}: the weights lack {' (or '.join(keys) + ')' * (len(keys) - 1)}")


def _float64(weights: Any) -> Floats:
    """An array, a tensor, or whatever else a pickled table holds."""
    doubled = weights.double().numpy() if hasattr(weights, "double") else np.asarray(weights)
    return doubled.astype(np.float64)


def _check_shapes(path: Path, models: Floats, projection: Floats, classifier: Floats) -> None:
    if models.ndim != 2 or projection.ndim != 2:
        raise ModelFault(f"{path}: P.weight and text_proj must be matrices")
    dim = models.shape[1]
    if projection.shape[0] != dim:
        shape = list(projection.shape)
        raise ModelFault(f"{path}: text_proj has shape {shape}, but P.weight asks for [{dim}, text_dim]")
    if list(classifier.shape) != [1, dim]:
        raise ModelFault(
            f"{path}: classifier has shape {list(classifier.shape)}, but P.weight asks for [1, {dim}]"
        )


def _check_config(path: Path, models: Floats, projection: Floats) -> None:
    config = _read_json(path / CONFIG) if path.is_dir() else {}
    actual = {"num_models": models.shape[0], "dim": models.shape[1], "text_dim": projection.shape[1]}
    for key, value in actual.items():
        if config.get(key, value) != value:
            raise ModelFault(f"{path}: {CONFIG} says {key} = {config[key]}, but the weights have {value}")


def _names(path: Path, card: Mapping[str, Any], count: int) -> tuple[str, ...]:
    names = card.get("models", ROUTELLM_MODELS if count == len(ROUTELLM_MODELS) else None)
    if names is None:
        raise ModelFault(f"{path}: a table of {count} models needs their names: `models` in {CARD}")
    if not isinstance(names, (list, tuple)) or len(names) != count:
        raise ModelFault(f"{path}: {CARD} must name {count} models, one for each row of P.weight")
    return tuple(map(str, names))


def _embedder(path: Path, card: Mapping[str, Any], text_dim: int) -> str | None:
    if card.get("format", FORMAT) != FORMAT:
        raise ModelFault(f"{path}: {CARD} has format {card['format']}; this version reads format {FORMAT}")
    about = card.get("embedder")
    if about is None:
        return None
    if not isinstance(about, dict) or about.get("dimension") != text_dim:
        raise ModelFault(f"{path}: {CARD} names another embedder dimension than the {text_dim} of the weights")
    return str(about.get("identity"))


def _read_json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        value = json.loads(file.read_bytes())
    except ValueError as fault:
        raise ModelFault(f"{file}: not JSON: {fault}") from fault
    if not isinstance(value, dict):
        raise ModelFault(f"{file}: must hold a JSON object")
    return value


def _digest(*weights: Floats) -> str:
    digest = hashlib.sha256()
    for array in weights:
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array, "<f8").tobytes())
    return digest.hexdigest()[:16]
