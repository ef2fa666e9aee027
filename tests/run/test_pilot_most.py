"""What `check` says of a pilot's cost: the most, as its rows are reserved, and what is expected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.job.prices import open_targets
from batchroute.report.figures import read_report
from batchroute.run.engine import run_job
from batchroute.run.feed import RequestWriter
from batchroute.run.open import open_input
from batchroute.run.options import RunOptions
from batchroute.run.pilot.cost import forecast_pilot
from batchroute.store.layout import RunLayout
from batchroute.store.pilot import read_pilot_bill
from inputs import lines
from jobs import job_of, judged, on_both, write_job
from sums import write_sums

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal
    from pathlib import Path

    from batchroute.input.open import Source
    from batchroute.job.spec import Job
    from batchroute.run.pilot.cost import PilotForecast
    from command import Said

    Command = Callable[..., Said]

REFERENCE = {"pilot.judge": "reference", "pilot.reference": "answer"}
BOUNDED = {**on_both("params", {"max_tokens": 100}), "endpoints.weak.price": {"input": 0.2, "output": 1.0}}


def forecast(
    folder: Path, rows: list[dict[str, Any]], *changes: dict[str, Any]
) -> tuple[PilotForecast, Job, Source]:
    lines(folder / "prompts.jsonl", *rows)
    merged = {key: value for change in (BOUNDED, REFERENCE, *changes) for key, value in change.items()}
    job = job_of(folder / "prompts.jsonl", folder / "run", merged)
    source = open_input(job.input, job.router, None, raw=job.output.raw)
    found = forecast_pilot(job, open_targets(job.asked), source)
    assert found is not None
    return found, job, source


def reserved(job: Job, source: Source) -> list[Decimal]:
    """What each row that is asked can cost on the side where it costs more, the dearest first."""
    targets = open_targets(job.endpoints)
    writers = [RequestWriter(spec, targets[name].pricing) for name, spec in job.endpoints.items()]
    prompts = [prompt for chunk in source.chunks() for prompt in chunk.prompts(np.arange(len(chunk.rows)))]
    asked = [prompt for prompt in prompts if prompt.refusal is None]
    usd = (
        max(write(prompt, None, "score", chars=0, tokens=0, attempts=0).most_usd for write in writers)
        for prompt in asked
    )
    return sorted(usd, reverse=True)


texts = st.one_of(
    st.text(max_size=30),
    st.text(st.sampled_from('猫は漢\n"é🙂\x00'), max_size=30),
    st.integers(0, 300).map(lambda n: "word " * n),
)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(texts, min_size=1, max_size=40), asked=st.integers(1, 12))
def test_the_most_is_that_of_the_dearest_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str], asked: int
) -> None:
    folder = tmp_path_factory.mktemp("most")
    found, job, source = forecast(folder, [{"prompt": text} for text in rows], {"pilot.rows": asked})
    assert found.most_usd == pytest.approx(float(sum(reserved(job, source)[:asked])), rel=1e-12)
    assert found.judge_most_usd == 0
    assert found.cost.cost_usd is not None
    assert found.cost.cost_usd.mid <= found.most_usd


def test_chunks_and_long_rows_at_the_end(tmp_path: Path) -> None:
    """The small rows that are passed over undecoded leave out none that counts."""
    rng = np.random.default_rng(0)
    sizes = rng.lognormal(4, 1.2, 9000).astype(int).tolist()
    rows = [{"prompt": ("語" if size % 3 == 0 else "x") * size} for size in sizes]
    found, job, source = forecast(tmp_path, rows, {"pilot.rows": 50})
    assert len(list(source.chunks())) > 1
    assert found.most_usd == pytest.approx(float(sum(reserved(job, source)[:50])), rel=1e-12)


def test_rows_that_are_not_drawn_count_in_nothing(tmp_path: Path) -> None:
    rows = [
        {"prompt": "short", "route": None},
        {"prompt": "weak " * 50, "route": "weak"},
        {"prompt": None},
        {"prompt": "too long " * 5000},
    ]
    changes = {"input.route": "route", "endpoints.weak.max_input_tokens": 1000}
    found, _, _ = forecast(tmp_path, rows, changes)
    alone, _, _ = forecast(tmp_path, rows[:1], changes)
    assert (found.cost.rows, found.cost.eligible) == (1, 1)
    assert (found.most_usd, found.cost) == (alone.most_usd, alone.cost)
    assert found.all_strong_usd is not None
    assert alone.all_strong_usd is not None
    assert found.all_strong_usd > 20 * alone.all_strong_usd, "the whole input counts there"


def test_a_row_that_brings_its_own_bound_counts_with_it(tmp_path: Path) -> None:
    rows = [{"prompt": "long " * 40, "params": {}}] * 5 + [{"prompt": "s", "params": {"max_tokens": 10_000}}]
    found, job, source = forecast(tmp_path, rows, {"input.params": "params", "pilot.rows": 1})
    assert found.most_usd == pytest.approx(float(reserved(job, source)[0]))
    assert found.most_usd > 0.1, "10,000 tokens at 10 USD per million"


def test_judge_questions_count_twice_each(tmp_path: Path) -> None:
    rows = [{"prompt": "x" * 400}]
    bound = judged("rubric", params={"max_tokens": 50})
    rubric, _, _ = forecast(tmp_path, rows, {"pilot.reference": None}, bound)
    pairwise, _, _ = forecast(tmp_path, rows, {"pilot.reference": None}, {**bound, "pilot.judge": "pairwise"})
    assert rubric.judge_most_usd is not None
    assert pairwise.judge_most_usd is not None
    verdicts = 4 * 50 * 10e-6
    assert rubric.judge_most_usd > verdicts + 4 * (400 + 4 * 100) * 2e-6
    assert pairwise.judge_most_usd > rubric.judge_most_usd + 4 * 300 * 2e-6, "the second answer"
    assert rubric.cost.judge_usd is not None
    assert rubric.cost.judge_usd.high < rubric.judge_most_usd
    assert rubric.most_usd is not None
    assert rubric.most_usd > rubric.judge_most_usd


@pytest.mark.parametrize(
    ("changes", "tables"),
    [
        (on_both("params", {}), ("endpoints.strong", "endpoints.weak")),
        ({**judged("rubric"), "pilot.reference": None}, ("pilot.endpoint",)),
    ],
)
def test_what_nothing_bounds_has_no_most(tmp_path: Path, changes: dict[str, Any], tables: tuple[str, ...]) -> None:
    found, _, _ = forecast(tmp_path, [{"prompt": "a"}], changes)
    assert (found.most_usd, found.judge_most_usd, found.unbounded) == (None, None, tables)
    assert found.cost.cost_usd is not None


def test_without_a_pilot_there_is_nothing_to_say(tmp_path: Path) -> None:
    lines(tmp_path / "prompts.jsonl", {"prompt": "a"})
    job = job_of(tmp_path / "prompts.jsonl", tmp_path / "run")
    assert forecast_pilot(job, open_targets(job.asked), open_input(job.input, job.router, None)) is None


def checked(batchroute: Command, folder: Path, rows: int, *changes: dict[str, Any]) -> Said:
    lines(folder / "prompts.jsonl", *({"prompt": f"question {n}", "answer": "7"} for n in range(rows)))
    return batchroute("check", write_job(folder, BOUNDED, on_both("price", PRICE), *changes))


PRICE = {"input": 1.0, "output": 10.0}


def test_check_says_what_it_costs(tmp_path: Path, batchroute: Command) -> None:
    said = checked(batchroute, tmp_path, 500, REFERENCE)
    assert (said.code, said.err) == (0, "")
    [first, share] = [line for line in said.out.splitlines() if line.startswith("pilot: ")]
    assert first.startswith("pilot: at most $0.4")
    assert first.endswith(" beside the rows: 400 rows on both sides, about $0.4012 expected")
    assert share == "pilot: that is about 80.0% of what all rows on the strong side would cost"


def test_check_names_the_judge_s_part_and_no_share_where_it_is_small(tmp_path: Path, batchroute: Command) -> None:
    judge = judged(params={"max_tokens": 50}, price={"input": 0.01, "output": 0.1})
    said = checked(batchroute, tmp_path, 700, judge, {"pilot.rows": 10})
    [only] = [line for line in said.out.splitlines() if line.startswith("pilot: ")]
    assert "beside the rows (judge $0.001" in only
    assert " of it): 10 rows on both sides, about $0.01" in only


@pytest.mark.parametrize(
    ("rows", "changes", "words"),
    [
        (
            30,
            {},
            "pilot: pilot.rows = 400, but only 30 rows can be drawn (refused ones, too long ones and those that",
        ),
        (
            500,
            on_both("params", {}),
            "at most: unknown until max_tokens is in endpoints.strong.params, endpoints.w",
        ),
        (
            500,
            {"endpoints.weak.price": None, "endpoints.weak.model": "own"},
            "400 rows on both sides, at an unknown",
        ),
        (500, {"pilot.watch": 0.1}, "pilot: watch = 0.1 asks about 10 later rows on both sides, about $0.01"),
    ],
)
def test_check_says_what_else_is_worth_knowing(
    tmp_path: Path, batchroute: Command, rows: int, changes: dict[str, Any], words: str
) -> None:
    said = checked(batchroute, tmp_path, rows, REFERENCE, changes)
    assert said.code == 0
    assert words in said.out


def test_a_budget_below_the_pilot_is_a_warning(tmp_path: Path, batchroute: Command) -> None:
    said = checked(batchroute, tmp_path, 500, REFERENCE, {"limits.max_cost_usd": 0.3})
    assert said.code == 0
    assert "limits.max_cost_usd = 0.3 is less than the $0.4" in said.err
    assert (
        "limits.max_cost_usd" not in checked(batchroute, tmp_path, 500, REFERENCE, {"limits.max_cost_usd": 1}).err
    )


def test_a_side_that_judges_itself_is_a_warning(tmp_path: Path, batchroute: Command) -> None:
    said = checked(batchroute, tmp_path, 500, judged(model="gpt-6-luna"))
    assert (
        "pilot.endpoint.model is that of the weak side, gpt-6-luna: models favour answers of their own" in said.err
    )
    assert "pilot.endpoint.model" not in checked(batchroute, tmp_path, 500, judged()).err


@pytest.mark.parametrize("judge", ["reference", "rubric", "pairwise"])
def test_a_pilot_costs_no_more_than_was_said(tmp_path: Path, judge: str) -> None:
    """Against simulated sides and a simulated judge, every answer and verdict billed."""
    path = write_sums(tmp_path / "prompts.jsonl", 60)
    asks_a_model = judge != "reference"
    judge_ = judged(judge, base_url=None, simulate={"latency_s": 0.0}, params={"max_tokens": 300})
    changes = {
        **(judge_ if asks_a_model else REFERENCE),
        **BOUNDED,
        **on_both("base_url", None),
        **on_both("simulate", {"latency_s": 0.0, "response_tokens": 60, "skill": 0.9}),
        "routing": {"quality": 0.9},
        "pilot.rows": 30,
    }
    job = job_of(path, tmp_path / "run", changes)
    said = forecast_pilot(job, open_targets(job.asked), open_input(job.input, job.router, None))
    run_job(job, RunOptions(environ={}))
    report = read_report(tmp_path / "run")
    assert said is not None
    assert said.most_usd is not None
    assert said.judge_most_usd is not None
    assert report is not None
    assert report.pilot_cost_usd is not None
    assert 0 < report.pilot_cost_usd < said.most_usd
    bill = read_pilot_bill(RunLayout(tmp_path / "run"))
    assert asks_a_model == (0 < float(bill.judge_usd) < said.judge_most_usd)
    assert said.cost.cost_usd is not None
    assert said.cost.cost_usd.low <= report.pilot_cost_usd <= said.cost.cost_usd.high
