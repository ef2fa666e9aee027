"""The last line of a run: dated, always there, and of each way to end with what to change about that."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchroute.errors import Stopped
from batchroute.run.end import RunEnd
from batchroute.show.summary import Summary, rows_words, spent_words, summary_of, summary_of_error
from batchroute.simulate.behaviour import Behaviour
from batchroute.store.lock import locked
from inputs import lines
from jobs import PRICE, job_of, on_both, write_job
from servers import threaded_simulator

if TYPE_CHECKING:
    from collections.abc import Callable

    from command import Said

    Command = Callable[..., Said]

NOW = datetime.fromisoformat("2026-11-28T05:12:34+01:00")
DONE = RunEnd(rows=20_000, ok=19_997, refused=3, failed=0, wall_s=47.4, asked=True)
LEFT = replace(DONE, ok=1000)
COMMON = {"name": "nightly", "routing.threshold": 1.0, **on_both("price", PRICE)}
DATED = r"\d{4}-\d\d-\d\dT\d\d:\d\d nightly "


def line_of(end: RunEnd, **limits: Any) -> str:
    changes = {f"limits.{key}": value for key, value in limits.items()}
    return summary_of(job_of(Path("in.jsonl"), Path("runs/x"), changes), end, None).line(NOW)


def test_the_line() -> None:
    summary = Summary(
        job="nightly",
        state="complete",
        exit_code=0,
        run="runs/2026-11-27",
        rows=20_000,
        done=20_000,
        refused=3,
        failed=0,
        cost_usd=9.3123,
        max_cost_usd=100.0,
        wall_s=47.4,
    )
    expected = "2026-11-28T05:12 nightly complete 20,000 rows, 3 refused, $9.31 of 100.00, 47 s, runs/2026-11-27"
    assert summary.line(NOW) == expected


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((5, 5, 0, 0), "5 rows"),
        ((1, 1, 1, 0), "1 row, 1 refused"),
        ((1200, 20_000, 3, 2), "1,200 of 20,000 rows, 3 refused, 2 failed"),
        ((7, None, 0, 0), "7 rows so far"),
        ((None, None, None, None), ""),
    ],
)
def test_rows_in_words(counts: tuple[int | None, int | None, int | None, int | None], words: str) -> None:
    assert rows_words(*counts) == words


@pytest.mark.parametrize(
    ("usd", "most_usd", "words"),
    [
        (9.3123, 100.0, "$9.31 of 100.00"),
        (0.004, 100.0, "$0.00 of 100.00"),
        (0.0123, 0.05, "$0.0123 of 0.0500"),
        (0.0123, None, "$0.0123"),
        (1234.5, None, "$1,234.50"),
        (0.0, None, "$0.00"),
        (None, 5.0, "cost unknown"),
    ],
)
def test_money_in_words(usd: float | None, most_usd: float | None, words: str) -> None:
    assert spent_words(usd, most_usd) == words


@pytest.mark.parametrize(
    ("end", "limits", "state", "advice"),
    [
        (DONE, {"ok_if_refused": 0.1}, "complete", ""),
        (DONE, {}, "refusals", "--retry refused asks them again"),
        (
            replace(LEFT, failed=2),
            {},
            "incomplete",
            "2 rows failed, listed in failed.jsonl; the next run",
        ),
        (LEFT, {}, "incomplete", "rows are left; run the same command again to go on"),
        (replace(LEFT, signal=2), {}, "incomplete", "ended by SIGINT; run the same command again to go on"),
        (replace(LEFT, signal=15), {}, "incomplete", "ended by SIGTERM; run the same command again to go on"),
        (replace(DONE, causes=("enough for today",), stopped=("enough",)), {}, "incomplete", "enough for today"),
    ],
)
def test_each_end_says_what_to_do(end: RunEnd, limits: dict[str, Any], state: str, advice: str) -> None:
    line = line_of(end, **limits)
    assert line.startswith(f"2026-11-28T05:12 nightly {state} ")
    assert advice in line
    assert (": " in line) == bool(advice)


def test_an_error_of_many_lines_is_one() -> None:
    summary = summary_of_error("nightly", "runs/x", Stopped("runs/x: no space left\nmore\nmore"))
    line = summary.line(NOW)
    assert line == "2026-11-28T05:12 nightly stopped: runs/x: no space left; and 2 more"
    assert summary.exit_code == 4


def cases() -> list[Any]:
    """By whole runs: what the provider does, what the job says, the exit code, and what the last line advises."""
    costly = {"limits.max_cost_usd": 0.05, **on_both("params", {"max_tokens": 400})}
    nowhere = {"limits.outage_s": 0.5, **on_both("base_url", "http://127.0.0.1:9/v1")}
    return [
        pytest.param({}, {}, 0, r"complete 30 rows, \$", id="complete"),
        pytest.param(
            {"response_tokens": 400, "latency_s": 0.02},
            costly,
            4,
            "no money for the next row; raise limits.max_cost_usd, then run again",
            id="budget",
        ),
        pytest.param(
            {"poison": {"500": 0.5}, "response_tokens": 400},
            costly,
            4,
            r"no money for the next row; raise limits.max_cost_usd, then run again; \$0.0[1-9]\d\d of the limit "
            "are unconfirmed, held for requests that were sent and brought no usage",
            id="budget held",
        ),
        pytest.param(
            {"api_key": "another-key"}, {}, 4, "key rejected; set api_key_env, or check the key", id="key"
        ),
        pytest.param(
            {"faults": {"insufficient_quota": 1.0}},
            {},
            4,
            "quota or credit used up; top up the account",
            id="quota",
        ),
        pytest.param({"faults": {"404": 1.0}}, {}, 4, "not found; check base_url and model", id="model"),
        pytest.param(
            {"faults": {"400": 1.0}},
            {"limits.stop_after_same_refusal": 5},
            4,
            r"the same refusal 5 times with no success between \(HTTP 400: Simulated error 400.*\); fix the job",
            id="same refusal",
        ),
        pytest.param(
            {},
            nowhere,
            4,
            "does not answer; run again when it is back, or check base_url",
            id="outage",
        ),
        pytest.param(
            {"latency_s": 0.5},
            {"limits.max_wall_s": 0.2, **on_both("max_concurrency", 1)},
            4,
            "limits.max_wall_s is reached; run again to go on",
            id="time",
        ),
    ]


@pytest.mark.parametrize(("behaviour", "changes", "code", "advice"), cases())
def test_a_run_ends_in_one_line_that_says_what_to_change(
    tmp_path: Path,
    batchroute: Command,
    behaviour: dict[str, Any],
    changes: dict[str, Any],
    code: int,
    advice: str,
) -> None:
    lines(tmp_path / "prompts.jsonl", *({"prompt": f"question {row}"} for row in range(30)))
    with threaded_simulator(Behaviour(**behaviour)) as server:
        job = write_job(tmp_path, COMMON, on_both("base_url", server.url), changes)
        said = batchroute("run", job, "--quiet")
    assert (said.code, said.out) == (code, "")
    *_, last = said.err.splitlines()
    assert re.match(DATED, last)
    assert re.search(advice, last)
    assert said.err.count(last) == 1
    if not code:
        assert said.err == last + "\n", "nothing else is said where all is well"


def test_what_keeps_a_run_from_beginning_has_the_line_too(tmp_path: Path, batchroute: Command) -> None:
    lines(tmp_path / "prompts.jsonl", {"prompt": "hello"})
    job = write_job(tmp_path, {"name": "nightly"})
    with locked(tmp_path / "run", 0o700):
        said = batchroute("run", job, "--quiet")
    assert said.code == 4
    error, last = said.err.splitlines()
    assert error.startswith("error: ")
    assert re.match(DATED + r"stopped: .*a run is at work here: pid \d+ on .*; wait for it, or stop it", last)
    (tmp_path / "prompts.jsonl").unlink()
    gone = batchroute("run", job, "--quiet")
    assert gone.code == 2
    assert re.match(DATED + "stopped .*prompts.jsonl", gone.err.splitlines()[-1])
    nothing = batchroute("run", tmp_path / "nightly.toml", "--quiet")
    assert nothing.code == 2
    assert re.match(DATED + "stopped: .*nightly.toml", nothing.err.splitlines()[-1])


def test_as_json_it_has_the_same_facts_and_the_offset(tmp_path: Path, batchroute: Command) -> None:
    lines(tmp_path / "prompts.jsonl", {"prompt": "hello"})
    with threaded_simulator() as server:
        job = write_job(tmp_path, COMMON, on_both("base_url", server.url))
        said = batchroute("run", job, "--quiet", "--log-format", "json")
    (line,) = said.err.splitlines()
    logged = json.loads(line)
    assert datetime.fromisoformat(logged["time"]).utcoffset() is not None
    assert logged["level"] == "info"
    assert re.match(DATED + r"complete 1 row, \$", logged["message"])
    facts = logged["summary"]
    assert (facts["job"], facts["state"], facts["exit_code"], facts["rows"]) == ("nightly", "complete", 0, 1)
    assert facts["run"] == str(tmp_path / "run")
