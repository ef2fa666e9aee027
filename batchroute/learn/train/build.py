"""Label files -> a model directory, for one pair of models or for all there are labels of."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from batchroute.errors import UsageFault
from batchroute.job.spec import RouterSpec
from batchroute.learn.labels.comparisons import between_all, between_sides
from batchroute.learn.labels.files import read_label_file
from batchroute.learn.labels.sides import choose_sides
from batchroute.learn.train.features import embed_prompts
from batchroute.learn.train.fit import fit, make_training_set, split_prompts
from batchroute.learn.train.gain import fit_gain
from batchroute.quality.recovered import known_apgr
from batchroute.score.checkpoint import Card, write_checkpoint
from batchroute.score.embed.embedders import identity
from batchroute.score.mf import resolve_device
from batchroute.store.layout import RunLayout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from batchroute.learn.labels.comparisons import Comparisons
    from batchroute.learn.labels.files import LabelFile
    from batchroute.learn.train.fit import Epoch, Parameters, Split, TrainingSet


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Figures on prompts that the model has never seen; None where they cannot be known.

    `loss` is the mean cross-entropy of all comparisons, `accuracy` the share of those with a winner that it names.
    For a pair of models, the first the strong one: APGR of the model and of prompt length.
    """

    prompts: int
    loss: float
    accuracy: float | None
    apgr: float | None
    length_apgr: float | None


@dataclass(frozen=True, slots=True)
class Trained:
    """A model that was written to `output`; `models` in the order of its table; all prompts and comparisons.

    `epochs` it learned for, None where it was solved for; `held_out` are figures of these very weights.
    """

    output: Path
    models: tuple[str, ...]
    prompts: int
    comparisons: int
    epochs: int | None
    held_out: HeldOut


def train_model(
    labels: Sequence[Path],
    output: Path,
    *,
    strong: str | None = None,
    weak: str | None = None,
    router: RouterSpec | None = None,
    licence: str = "",
    seed: int = 0,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> Trained:
    """A model from label files: for `strong` and `weak`, or, where neither is named, for all models there are.

    Of `router` its embedder, device and batch size count. A tenth of the prompts is for stopping, a tenth for the
    figures. UsageFault for labels, embedders or devices that will not do; nothing is written then.
    """
    spec = router or RouterSpec()
    if output.is_file() or RunLayout(output).job.exists():
        raise UsageFault(f"{output}: is there and no model; name a new directory")
    if spec.use != "mf":
        raise UsageFault(f"the router {spec.use!r} has nothing to learn; only mf has")
    device = resolve_device(spec.device)
    column = spec.embedder.column if spec.embedder.use == "column" else None
    files = [read_label_file(file, column) for file in labels]
    comparisons = _comparisons(files, strong, weak, seed)
    split = split_prompts(comparisons.prompts, seed)
    features = embed_prompts(comparisons.prompts, comparisons.vectors, spec, device)
    training = make_training_set(comparisons, features, device)
    if spec.embedder.use == "builtin" and training.models == 2:
        solved = fit_gain(comparisons.prompts, torch.from_numpy(2 * comparisons.target - 1), split)
        parameters, epochs = solved.each(lambda tensor: tensor.to(device)), None
    else:
        parameters, best = fit(training, split, seed, on_epoch)
        epochs = best.number
    held_out = _held_out(comparisons, training, split, parameters)
    card = Card(
        models=comparisons.models,
        embedder=identity(spec.embedder),
        dimension=features.dimension,
        data=", ".join(f"{file.file.name} ({len(file.frame):,} {file.form})" for file in files),
        licence=licence,
        seed=seed,
        evaluation={"held_out": asdict(held_out), "prompts": len(comparisons.prompts), "epochs": epochs},
    )
    write_checkpoint(output, parameters.weights(), card)
    counts = len(comparisons.prompts), len(comparisons.target)
    return Trained(output, comparisons.models, *counts, epochs, held_out)


def _comparisons(files: Sequence[LabelFile], strong: str | None, weak: str | None, seed: int) -> Comparisons:
    if strong is None and weak is None and len(_models(files)) > 2:
        return between_all(files, "strong", "weak", seed)
    return between_sides(files, *choose_sides(files, strong, weak))


def _models(files: Sequence[LabelFile]) -> set[str]:
    columns = ("model", "model_a", "model_b")
    return {name for file in files for column in columns if column in file.frame for name in file.frame[column]}


def _held_out(comparisons: Comparisons, training: TrainingSet, split: Split, parameters: Parameters) -> HeldOut:
    prompts = torch.from_numpy(split.held_out).to(training.starts.device)
    logits, target = (part.cpu() for part in training.predicted(parameters, prompts))
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
    won = target != 0.5
    accuracy = float(((logits > 0) == (target > 0.5))[won].double().mean()) if won.any() else None
    is_pair = training.models == 2
    lengths = torch.tensor([float(len(comparisons.prompts[place])) for place in split.held_out])
    return HeldOut(
        prompts=len(split.held_out),
        loss=_rounded(float(loss)),
        accuracy=None if accuracy is None else _rounded(accuracy),
        apgr=_apgr(logits, target) if is_pair else None,
        length_apgr=_apgr(lengths, target) if is_pair else None,
    )


def _apgr(scores: Tensor, target: Tensor) -> float | None:
    gain = 2 * target.double().numpy() - 1
    known = known_apgr(scores.double().numpy(), np.maximum(gain, 0), np.maximum(-gain, 0))
    return None if known is None else _rounded(known)


def _rounded(figure: float) -> float:
    return round(figure, 4)
