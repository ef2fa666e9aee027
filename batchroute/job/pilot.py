"""The sections that a quality target needs: the pilot, its judge, and what an answer is checked by.

Knows no grades and no files.
"""

from __future__ import annotations

from typing import Any, Literal

from batchroute.job.endpoint import EndpointSpec
from batchroute.job.kinds import Count, CountOrAuto, Fraction, FunctionName, JudgeName, Text, TruthOrAuto
from batchroute.job.rules import JUDGES_BY_MODEL
from batchroute.job.section import Section, fixed, free

JUDGE_NAME = "judge"  # of its lane and on the bill, as "strong" and "weak" are
LEARNS_FROM_ROWS = 600  # where learn = "auto"
FIRST_AUTO_ROWS = 200  # of rows = "auto"; then twice as many, and so on


class PilotSpec(Section):
    """The rows that both sides are asked, and how their answers are graded."""

    rows: CountOrAuto = fixed(400, 'rows asked of both sides; "auto": 200, then doubled until all is shown')
    max_rows: Count = free(2000, 'most rows of "auto"')
    seed: int = fixed(0, "seed of the draw", ge=0)
    judge: JudgeName = fixed(
        ..., 'what grades the answers: reference, rubric, pairwise, check or "package.module:Class"'
    )
    reference: Text | None = fixed(None, "column with the right answer, which is not sent")
    match: Literal["auto", "exact", "number", "choice", "contains", "f1"] = fixed(
        "auto", "how an answer is held against the right one"
    )
    criteria: Text | None = fixed(None, "what makes an answer good, in words, for a judge that is a model")
    learn: TruthOrAuto = fixed("auto", "may a router fitted on the pilot take over; auto: from 600 rows on")
    watch: Fraction = free(0.0, "share of the later rows that both sides are asked, too")
    reuse: Text | None = fixed(None, "an earlier run, whose pilot is taken over as long as it still fits")
    endpoint: EndpointSpec | None = free(None, "the model that judges, with the keys of an endpoint")

    @property
    def asks_a_model(self) -> bool:
        """Whether the judge is one."""
        return self.judge in JUDGES_BY_MODEL

    @property
    def most_rows(self) -> int:
        """How many rows it takes at most."""
        return self.max_rows if self.rows == "auto" else self.rows


def table_of(endpoint: str) -> str:
    """The table of a job file that has what the endpoint of this name is: "endpoints.strong", "pilot.endpoint"."""
    return "pilot.endpoint" if endpoint == JUDGE_NAME else f"endpoints.{endpoint}"


class CheckSpec(Section):
    """What a good answer is like; where there are several, all must hold."""

    json_schema: Text | dict[str, Any] | None = fixed(
        None, "JSON Schema (2020-12) of the answer: a file beside the job, or a table", alias="schema"
    )
    regex: Text | None = fixed(None, "pattern that is found in the answer")
    function: FunctionName | None = fixed(
        None, '"package.module:name", called with row and response: None, or what is wrong'
    )
    strip: bool = fixed(True, "a JSON fence, and text around one JSON value, are taken off first")
