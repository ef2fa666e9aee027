"""The functions of routers alone: scores of prompts, and routers trained and compared on labels."""
# ruff: noqa: PLC0415  # torch is slow to import, and `train` may not need what `score` does

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchroute.job.load import router_section, scoring_sections
from batchroute.job.spec import Job, Limits
from batchroute.python.jobs import job_for
from batchroute.python.thread import in_thread
from batchroute.show.log import log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import polars as pl

    from batchroute.job.spec import InputSpec, RouterSpec
    from batchroute.learn.evaluate.figures import Evaluation
    from batchroute.learn.train.build import Trained
    from batchroute.learn.train.fit import Epoch
    from batchroute.python.jobs import Source, StrPath


def score(
    source: Source,
    *,
    prompt: str | None = None,
    limit: int | None = None,
    settings: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """Columns file, row, id and score, in the order of the input; the score is null where a row is refused.

        br.score(df, prompt="text")["score"]
        br.score(["What is 2 + 2?", "Prove that there are infinitely many primes."])

    `source`: a frame, a list of prompts or of rows, a data file, or a job. Asks nobody, but for an embeddings API.
    """
    import polars as pl

    with tempfile.TemporaryDirectory(prefix="batchroute-") as folder:
        data, router, limits = _parts(source, prompt, settings, variables, Path(folder))
        out = Path(folder, "scores.parquet")
        _score_into(out, data, router, limits, limit)
        return pl.read_parquet(out, memory_map=False)


def _parts(
    source: Source,
    prompt: str | None,
    settings: Mapping[str, Any] | None,
    variables: Mapping[str, str] | None,
    folder: Path,
) -> tuple[InputSpec, RouterSpec, Limits]:
    if isinstance(source, Job) or (isinstance(source, str | os.PathLike) and os.fspath(source).endswith(".toml")):
        job = job_for(source, None, settings, variables, {}, require_keys=False)
        return job.input, job.router, job.limits
    if not isinstance(source, str | os.PathLike):
        from batchroute.python.frames import table_of, write_table

        frame, source = source, folder / "input.parquet"
        write_table(table_of(frame), source)
    return *scoring_sections(os.fspath(source), prompt, (), variables, settings or {}), Limits()


def _score_into(out: Path, data: InputSpec, router: RouterSpec, limits: Limits, limit: int | None) -> None:
    from batchroute.run.open import open_input
    from batchroute.run.scorefile import score_file
    from batchroute.score.api.rate import EmbedContext, rater_opener

    source = open_input(data, router, None)
    open_rater = rater_opener(router, EmbedContext(os.environ, limits, log.warning))
    interrupted: list[int] = []

    def on_rows(_rows: int) -> None:
        if interrupted:
            raise KeyboardInterrupt

    in_thread(lambda: asyncio.run(score_file(source, router, open_rater, out, limit, on_rows)), interrupted.append)


def train(
    labels: StrPath | Sequence[StrPath],
    output: StrPath,
    *,
    strong: str | None = None,
    weak: str | None = None,
    licence: str = "",
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> Trained:
    """Trains a router from label files into the directory `output`; its figures are of prompts held out.

        br.train("labels.parquet", "models/ours", strong="gpt-6.1-sol", weak="gpt-6-luna").held_out.apgr

    `settings` are those of the router: {"router.device": "cuda"}. Raises UsageFault for labels that will not do.
    """
    from batchroute.learn.train.build import train_model

    return train_model(
        _files(labels),
        Path(output),
        strong=strong,
        weak=weak,
        router=router_section((), settings or {}),
        licence=licence,
        seed=seed,
        on_epoch=on_epoch,
    )


def evaluate(
    labels: StrPath | Sequence[StrPath],
    *,
    strong: str | None = None,
    weak: str | None = None,
    routers: Sequence[str] = (),
    models: Sequence[StrPath] = (),
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Routers on labelled prompts, beside chance, prompt length and an oracle; the built-in one without any.

        print(br.evaluate("labels.parquet", strong="gpt-6.1-sol", weak="gpt-6-luna").verdict)

    Keep prompts that a model was trained on out of its evaluation.
    """
    from batchroute.learn.evaluate.build import compare_routers

    return compare_routers(
        _files(labels),
        router_section((), settings or {}),
        routers,
        [Path(model) for model in models],
        strong=strong,
        weak=weak,
        seed=seed,
    )


def _files(labels: StrPath | Sequence[StrPath]) -> list[Path]:
    return [Path(labels)] if isinstance(labels, str | os.PathLike) else [Path(file) for file in labels]
