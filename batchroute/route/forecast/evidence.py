"""What is known of a job's rows before they are asked: tokens per character, and what an earlier run says.

A tokenizer is used only where one is installed and its vocabulary already lies on this machine: nothing is
fetched. Earlier runs are those whose directories stand beside the output directory. Knows no prices and no
thresholds.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batchroute.errors import RunFault
from batchroute.report.figures import read_report
from batchroute.send.tokens import CHARS_PER_TOKEN, find_tokenizer
from batchroute.store.layout import RunLayout
from batchroute.types import SIDES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from batchroute.input.open import Source
    from batchroute.job.endpoint import EndpointSpec
    from batchroute.job.spec import Job
    from batchroute.report.figures import Report
    from batchroute.store.scores import ScorePart
    from batchroute.types import Floats

    CountTokens: TypeAlias = Callable[[str], int]


SAMPLE_ROWS = 2000
EARLIER_ERROR = 0.2  # of an earlier run's mean: another night has other prompts
SAMPLE_PLACES = 8  # each is a seek, and through compressed lines a pass


class Band(NamedTuple):
    """low <= mid <= high; `mid` is the best guess."""

    low: float
    mid: float
    high: float

    @staticmethod
    def around(mid: float, error: float) -> Band:
        """`mid` give or take a share of it."""
        return Band(mid * (1 - error), mid, mid * (1 + error))

    def plus(self, other: Band) -> Band:
        return Band(*(one + more for one, more in zip(self, other, strict=True)))

    def at_most(self, bound: float) -> Band:
        return Band(*(min(value, bound) for value in self))


# English runs near 4 characters a token, dense JSON, code and most other scripts below, plain prose up to 5.
UNMEASURED = Band(1 / 5, 1 / CHARS_PER_TOKEN, 1 / 2.5)


@dataclass(frozen=True, slots=True)
class TokenRatio:
    """`tokens_per_char` with its error, and in words where it comes from."""

    tokens_per_char: Band
    source: str


def token_ratio(model: str, source: Source, parts: Sequence[ScorePart]) -> TokenRatio:
    """The ratio for `model`, measured on up to SAMPLE_ROWS rows of the input; else the default."""
    tokenizer = find_tokenizer(model)
    ratio = None if tokenizer is None else measured(tokenizer[1], list(sample_texts(source, parts)))
    if tokenizer is None or ratio is None:
        return TokenRatio(UNMEASURED, f"{CHARS_PER_TOKEN} characters a token, not measured: 2.5 to 5 are usual")
    error = (ratio.high - ratio.low) / 2 / ratio.mid
    words = f"{1 / ratio.mid:.2f} characters a token, give or take {error:.1%}, measured with {tokenizer[0]}"
    return TokenRatio(ratio, words)


def measured(count: CountTokens, texts: Sequence[str]) -> Band | None:
    """Tokens per character over `texts`, give or take two standard errors; None where they hold no character.

    The ratio estimator of survey sampling: all tokens over all characters, its variance from the residuals.
    """
    chars = np.array([len(text) for text in texts], np.float64)
    tokens = np.array([count(text) for text in texts], np.float64)
    if not chars.sum():
        return None
    ratio = float(tokens.sum() / chars.sum())
    residuals = tokens - ratio * chars
    error = float(2 * np.sqrt((residuals**2).sum()) / chars.sum())
    return Band(max(0.0, ratio - error), ratio, ratio + error)


def sample_texts(source: Source, parts: Sequence[ScorePart]) -> Iterator[str]:
    """The text of up to SAMPLE_ROWS rows that can be asked, from places spread over the input."""
    filled = [part for part in parts if part.rows]
    places = [filled[at] for at in _spread(len(filled), SAMPLE_PLACES).tolist()]
    for place in places:
        for chunk in islice(source.chunks(place.start), 1):
            picks = _spread(min(len(chunk.rows), place.rows), SAMPLE_ROWS // len(places))
            yield from (_text(prompt.messages) for prompt in chunk.prompts(picks) if prompt.refusal is None)


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """Up to `most` indices into `count` things, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _text(messages: bytes) -> str:
    contents = [message.get("content") for message in json.loads(messages)]
    parts = [part for content in contents for part in (content if isinstance(content, list) else [content])]
    texts = (part.get("text") if isinstance(part, dict) else part for part in parts)
    return "\n".join(text for text in texts if isinstance(text, str))


@dataclass(frozen=True, slots=True)
class EarlierAnswers:
    """Means over one model's answers, in the run or the pilot that `source` names; the latency is the median.

    `error` of the tokens is a share of them.
    """

    source: str
    completion_tokens: float
    latency_s: float | None
    error: float = EARLIER_ERROR


def earlier_answers(job: Job, output: Path) -> Mapping[str, EarlierAnswers]:
    """By endpoint what the latest run of the job's name to its end says; one with another model is left out."""
    report = next((found for found in _reports(output) if found.name == job.name), None)
    if report is None:
        return {}
    found = {name: _answers(report, name, spec) for name, spec in job.endpoints.items()}
    return {name: answers for name, answers in found.items() if answers is not None}


def pilot_answers(run: Path) -> dict[str, EarlierAnswers]:
    """By endpoint what the answers to this job's own pilot say, give or take two standard errors.

    Its rows stand for all, so nothing is to be assumed of how long answers are; none where there was no pilot.
    """
    path = RunLayout(run).pilot_rows
    if not path.exists():
        return {}
    columns = {side: f"{side}_completion_tokens" for side in SIDES}
    try:
        table = pq.read_table(path, columns=list(columns.values()))
    except (OSError, pa.ArrowInvalid) as error:
        raise RunFault(f"{path}: cannot be read ({error}); remove it, and run again") from error
    found = {side: table[name].drop_null().to_numpy().astype(np.float64) for side, name in columns.items()}
    return {side: _of_pilot(tokens) for side, tokens in found.items() if len(tokens) > 1 and tokens.any()}


def _of_pilot(tokens: Floats) -> EarlierAnswers:
    mean = float(tokens.mean())
    error = 2 * float(tokens.std(ddof=1)) / math.sqrt(len(tokens)) / mean
    return EarlierAnswers("this job's pilot", mean, None, min(1.0, error))


def _reports(output: Path) -> Iterator[Report]:
    """The runs beside `output` whose rows have all ended, latest first."""
    beside = [RunLayout(run) for run in output.parent.glob("*") if run != output]
    written = [run for run in beside if run.report.is_file()]
    for run in sorted(written, key=lambda run: run.report.stat().st_mtime, reverse=True):
        try:
            report = read_report(run.path)
        except (OSError, RunFault):
            continue  # someone else's file: there is nothing to learn from it
        if report is not None and report.state in {"complete", "refusals"}:
            yield report


def _answers(report: Report, name: str, endpoint: EndpointSpec) -> EarlierAnswers | None:
    if (name in report.simulated) != (endpoint.simulate is not None):
        return None
    bills = [bill for bill in report.models if bill.route == name and bill.model == endpoint.model and bill.ok]
    if not bills or any(bill.completion_tokens is None for bill in bills):
        return None
    tokens = sum(bill.completion_tokens or 0 for bill in bills) / sum(bill.ok for bill in bills)
    latency = report.latency_s.get(name)
    return EarlierAnswers(f"the run {report.run}", tokens, None if latency is None else latency.p50)
