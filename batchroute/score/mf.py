"""RouteLLM's matrix-factorisation router on a device: what of a router needs torch."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from batchroute.errors import ModelFault
from batchroute.score.embed.product import fold

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.job.spec import EmbedderSpec
    from batchroute.score.embed.product import Product
    from batchroute.types import Floats, Questions


def fold_router(embedder: EmbedderSpec, vector: Floats, device: torch.device) -> Callable[[Questions], Floats]:
    """What scores questions, for a model that `Checkpoint.folded` made one `vector` [text_dim] of."""
    return partial(mf_scores, fold(embedder, torch.from_numpy(vector), device))


def mf_scores(product: Product, questions: Questions) -> Floats:
    """Those of RouteLLM's router, folded for one pair of models: sigmoid(e . v)."""
    scores: Floats = torch.sigmoid(product(questions)).cpu().numpy()
    return scores


def resolve_device(name: str) -> torch.device:
    """auto | cpu | cuda | cuda:N; ModelFault when the GPU asked for is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise ModelFault(f"router.device is {name!r}, but torch sees {found} GPUs; use auto or cpu")
    return device
