"""A batch's input, read before it runs, and the results of its run as the lines of two files. Knows no HTTP."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import msgspec

from batchroute.errors import RoutingError
from batchroute.input.text import Replaced, loads
from batchroute.job.spec import InputSpec, OutputSpec, RoutingSpec
from batchroute.report.export.files import export_run
from batchroute.serve.batch.batches import BatchError
from batchroute.store.failed import read_failed
from batchroute.store.files import whole_file
from batchroute.store.layout import RunLayout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchroute.job.spec import Job
    from batchroute.serve.names import ModelNames, Selection

MOST_ERRORS = 100  # that a batch reports
ALL_STRONG, ALL_WEAK = 0.0, math.nextafter(1, 2)  # every score reaches the first and none the second


class _Settled(msgspec.Struct):
    error: msgspec.Raw


_SETTLED = msgspec.json.Decoder(_Settled)


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


def threshold_of(selection: Selection) -> float:
    """The threshold that routes as a batch's model says; for one side alone, one that all scores or none reach."""
    if isinstance(selection, str):
        return ALL_STRONG if selection == "strong" else ALL_WEAK
    return selection


def batch_job(job: Job, input_file: Path, output: Path, threshold: float) -> Job:
    """The run that answers a batch: a server's endpoints, router and limits on the batch's file."""
    return job.model_copy(
        update={
            "name": output.name,
            "input": InputSpec(path=[str(input_file)], format="openai-batch"),
            "output": OutputSpec(path=str(output), raw=True),
            "router": job.router.model_copy(update={"text": None}),
            "routing": RoutingSpec(threshold=threshold),
        }
    )


def write_results(run: Path, output: Path, errors: Path) -> tuple[int, int]:
    """A run's answers and its failures as batch lines in two files; returns how many went to each."""
    whole = output.with_suffix(".jsonl")
    layout, counts = RunLayout(run), [0, 0]
    with (
        whole_file(output) as unfinished_output,
        whole_file(errors) as unfinished_errors,
        unfinished_output.open("wb") as good,
        unfinished_errors.open("wb") as bad,
    ):
        if layout.parts():
            export_run(run, whole, format="openai-batch")
            with whole.open("rb") as lines:
                for line in lines:
                    counts[_sort(line, good, bad)] += 1
            whole.unlink()
        for line in _failed_lines(layout.failed):
            counts[_sort(line, good, bad)] += 1
    return counts[0], counts[1]


def _sort(line: bytes, good: IO[bytes], bad: IO[bytes]) -> int:
    is_error = bytes(_SETTLED.decode(line).error) != b"null"
    (bad if is_error else good).write(line)
    return int(is_error)


def _failed_lines(path: Path) -> Iterator[bytes]:
    """The rows that failed for passing reasons; the batch is over, so they are not asked again."""
    for row in read_failed(path):
        error = {"code": row.error_type, "message": row.error}
        head = {"id": f"batch_req_{row.file}:{row.row}", "custom_id": row.id}
        yield msgspec.json.encode({**head, "response": None, "error": error}) + b"\n"
