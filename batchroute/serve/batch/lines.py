"""A batch's input, read before it runs, and the results of its run as the lines of two files. Knows no HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec

from batchroute.errors import RoutingError
from batchroute.input.text import Replaced, loads
from batchroute.job.spec import InputSpec, Notify, OutputSpec, RoutingSpec
from batchroute.report.export.cells import batch_line, batch_rows
from batchroute.report.export.order import tables_in_order
from batchroute.report.read import read_job
from batchroute.serve.batch.batches import BatchError
from batchroute.store.files import saving, whole_file
from batchroute.store.layout import RunLayout
from batchroute.store.unsealed import read_failed
from batchroute.types import HIGHEST_THRESHOLD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchroute.job.spec import Job
    from batchroute.serve.chat import ModelNames, Selection

MOST_ERRORS = 100  # that a batch reports
ALL_STRONG, ALL_WEAK = 0.0, HIGHEST_THRESHOLD


@dataclass(frozen=True, slots=True)
class BatchInput:
    """The number of a batch's requests, the model that all of them name, and what keeps it from running."""

    requests: int
    selection: Selection | None
    errors: list[BatchError]


def read_batch_input(path: Path, names: ModelNames) -> BatchInput:
    """All requests of a batch must name one model; a line that cannot be read is refused later, by itself."""
    model, requests = None, 0
    errors: list[BatchError] = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            requests += 1
            found = _model_in(line)
            model = found if model is None else model
            if found not in (None, model) and len(errors) < MOST_ERRORS:
                message = f"the batch asks for {model!r}, this line for {found!r}; make two batches of it"
                errors.append(BatchError("mismatched_model", message, number, "body.model"))
    if not requests:
        errors.append(BatchError("empty_file", "the file has no requests"))
    try:
        selection = names.read(model) if requests else None
    except RoutingError as error:
        return BatchInput(requests, None, [*errors, BatchError("model_not_found", str(error), 1, "body.model")])
    return BatchInput(requests, selection, errors)


def _model_in(line: bytes) -> Any:
    try:
        request = loads(line, Replaced())
    except ValueError:
        return None
    body = request.get("body") if isinstance(request, dict) else None
    return body.get("model") if isinstance(body, dict) else None


def batch_job(job: Job, input_file: Path, output: Path, selection: Selection) -> Job:
    """The run that answers a batch: a server's endpoints, router and limits on the batch's file.

    One endpoint alone is a threshold that all scores reach, or none. A batch with refusals is a completed one: its
    error file has them.
    """
    if isinstance(selection, str):
        selection = ALL_STRONG if selection == "strong" else ALL_WEAK
    return job.model_copy(
        update={
            "name": output.name,
            "input": InputSpec(path=[str(input_file)], format="openai-batch"),
            "output": OutputSpec(path=str(output), raw=True),
            "router": job.router.model_copy(update={"text": None}),
            "routing": RoutingSpec(threshold=selection),
            "limits": job.limits.model_copy(update={"ok_if_refused": 1.0}),
            "notify": Notify(),  # a batch is the client's, who asks for its state
        }
    )


def write_results(run: Path, output: Path, errors: Path) -> None:
    """A run's answers and its failures as batch lines in two files, in the order of the input.

    Rows that failed for passing reasons come last: the batch is over, so they are not asked again.
    """
    layout = RunLayout(run)
    with (
        saving(output),
        whole_file(output) as unfinished_output,
        whole_file(errors) as unfinished_errors,
        unfinished_output.open("wb") as good,
        unfinished_errors.open("wb") as bad,
        TemporaryDirectory(dir=run, prefix=".export.") as spill,
    ):
        failed = map(msgspec.structs.asdict, read_failed(layout.failed))
        for row in chain(_result_rows(layout, Path(spill)), failed):
            line = batch_line(row)
            (good if line["error"] is None else bad).write(msgspec.json.encode(line) + b"\n")


def _result_rows(layout: RunLayout, spill: Path) -> Iterator[dict[str, Any]]:
    if parts := layout.parts():
        tables = tables_in_order(parts, read_job(layout.path).files, spill)
        for rows in batch_rows(tables):
            yield from rows
