"""Job and directory that no longer fit: the message names a command, and that command is run as it stands."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from batchroute.simulate.traffic import prompt_digest
from batchroute.store.journal import Journal
from batchroute.types import Result
from command import assert_one_message
from inputs import lines
from jobs import write_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from command import Said
    from servers import ThreadedSimulator

    Command = Callable[..., Said]
    Servers = tuple[ThreadedSimulator, ThreadedSimulator]

PILOT = 20


def prompt(row: int) -> str:
    """The first rows are short, so that the pilot's threshold is below that of all."""
    return f"question {row} " + "x" * (row * 37 % 200 + 3 * row)


@pytest.fixture
def job(tmp_path: Path, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_prompts(tmp_path, range(100))
    strong, weak = servers
    return write_job(
        tmp_path,
        {
            "output.path": "runs/pilot",
            "routing": {"strong_fraction": 0.2},
            "endpoints.strong.base_url": strong.url,
            "endpoints.weak.base_url": weak.url,
            "endpoints.strong.price": {"input": 2.0, "output": 10.0},
            "endpoints.weak.price": {"input": 0.2, "output": 1.0},
        },
    )


def write_prompts(folder: Path, rows: Iterable[int]) -> None:
    lines(folder / "prompts.jsonl", *({"prompt": prompt(row)} for row in rows))


def asked(server: ThreadedSimulator) -> Counter[str]:
    return Counter(server.stats().asked)


def rows_of(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pl.read_parquet(run / "results" / "*.parquet").to_dicts()
    return found


def digests(run: Path, side: str) -> Counter[str]:
    """What stands on a side of a run, as the servers count it."""
    return Counter(prompt_digest(prompt(row["row"])) for row in rows_of(run) if row["route"] == side)


def advised(said: Said) -> list[str]:
    """The arguments of the command that a message ends with."""
    assert_one_message(said, 2, "take over what stays", "input.reuse=")
    (advised,) = (line for line in said.err.splitlines() if line.startswith("  batchroute "))
    command = shlex.split(advised)
    assert command[0] == "batchroute"
    return command[1:]


def assert_follows(batchroute: Command, servers: Servers, said: Said, new: Path) -> None:
    """The advised command ends well, and asks what stands in `new` and was not answered on that side before."""
    before = [asked(server) for server in servers]
    end = batchroute(*advised(said))
    assert end.code == 0, end.err
    for server, side, known in zip(servers, ("strong", "weak"), before, strict=True):
        wanted = digests(new, side)
        assert asked(server) == known | wanted, side
        assert max(asked(server).values(), default=1) == 1
    threshold = json.loads((new / "report.json").read_bytes())["threshold"]
    for row in rows_of(new):
        assert (row["score"] >= threshold) == (row["route"] == "strong")


@pytest.mark.parametrize("routing", [{"strong_fraction": 0.2}, {"budget_usd": 0.06}])
def test_a_pilot_whose_answers_would_change_side_names_a_command_that_takes_over_the_rest(
    tmp_path: Path, job: Path, batchroute: Command, servers: Servers, routing: dict[str, float]
) -> None:
    [(key, value)] = routing.items()
    goal = ("--set", f"routing.{key}={value}")
    assert batchroute("run", job, *goal, "--limit", PILOT).code == 0
    paid = [asked(server) for server in servers]
    said = batchroute("run", job, *goal)
    assert [asked(server) for server in servers] == paid
    assert (tmp_path / "runs/pilot/_SUCCESS").exists()
    assert json.loads((tmp_path / "runs/pilot/report.json").read_bytes())["state"] == "complete"
    assert advised(said) == ["run", str(job), *goal, "--output", "runs/pilot-2", "--set", "input.reuse=runs/pilot"]
    assert batchroute("run", job, *goal).code == 2  # now that all is scored, too
    assert_follows(batchroute, servers, said, tmp_path / "runs/pilot-2")
    assert batchroute("run", job, *goal, "--limit", PILOT).code == 0  # the pilot is as it was


def test_a_pilot_whose_answers_stay_goes_on_in_its_directory_at_the_threshold_of_all(
    tmp_path: Path, job: Path, batchroute: Command, servers: Servers
) -> None:
    """Every fifth row is long, in the pilot as in the rest, and the rest's are a little shorter."""
    texts = ["x" * (500 - row if row % 5 == 0 else row) for row in range(100)]
    lines(tmp_path / "prompts.jsonl", *({"prompt": text} for text in texts))
    thresholds = []
    for flags in (("--limit", PILOT), (), ("--limit", 5)):
        assert batchroute("run", job, *flags).code == 0
        thresholds.append(json.loads((tmp_path / "runs/pilot/report.json").read_bytes())["threshold"])
    assert thresholds[0] > thresholds[1] == thresholds[2]
    rows = rows_of(tmp_path / "runs/pilot")
    assert [row["score"] >= thresholds[1] for row in rows] == [row["route"] == "strong" for row in rows]
    assert sum(row["route"] == "strong" for row in rows) == 20
    assert sum(map(asked, servers), Counter[str]()) == Counter(map(prompt_digest, texts))


def test_as_many_rows_as_a_smaller_limit_may_be_done_and_not_be_those(
    tmp_path: Path, job: Path, batchroute: Command
) -> None:
    """There is money for all rows of the weak side and for none of the strong one, which has some of the first."""
    bound = [f"endpoints.{side}.params={{max_tokens=200}}" for side in ("strong", "weak")]
    flags = [word for setting in bound for word in ("--set", setting)]
    flags += ["--set", "endpoints.strong.price={input=2000.0, output=10000.0}"]
    assert batchroute("run", job, *flags, "--set", "limits.max_cost_usd=1").code == 4
    done = {row["row"] for row in rows_of(tmp_path / "runs/pilot")}
    first = range(len(done) - 1)
    assert not done.issuperset(first)
    assert batchroute("run", job, *flags, "--limit", len(first)).code == 0
    assert {row["row"] for row in rows_of(tmp_path / "runs/pilot")} >= {*first}


@pytest.mark.parametrize(
    "flags",
    [
        ("--set", "routing.strong_fraction=0.4"),
        ("--set", "routing.threshold=0.3"),
        ("--set", "router.use=random", "--quiet"),
        ("--set", "endpoints.weak.model=gpt-6.1-sol", "--json"),
        ("--set", 'input.system="Be brief."', "--limit", "50"),
    ],
)
def test_a_changed_setting_names_a_command_that_takes_over_what_stays(
    tmp_path: Path, job: Path, batchroute: Command, servers: Servers, flags: tuple[str, ...]
) -> None:
    assert batchroute("run", job).code == 0
    said = batchroute("run", job, *flags)
    setting = flags[1].partition("=")[0]
    assert re.search(rf"{re.escape(setting)}\b.* changed; put that back", said.err)
    command = advised(said)
    assert command[:2] == ["run", str(job)]
    assert {*flags} <= {*command}
    before = sum(map(asked, servers), Counter[str]()).total()
    assert batchroute(*command).code == 0
    new = rows_of(tmp_path / "runs/pilot-2")
    again = sum(map(asked, servers), Counter[str]()).total() - before
    assert again == sum(row["attempts"] for row in new)
    same_body = "system" not in setting and "model" not in setting
    assert (again < len(new)) == ("system" not in setting)
    if same_body:
        sides = {row["row"]: row["route"] for row in rows_of(tmp_path / "runs/pilot")}
        assert again == sum(row["route"] != sides[row["row"]] for row in new)


@pytest.mark.parametrize(
    ("rows", "words"),
    [([*range(99), 500], "has other content"), (range(1, 100), "has other content")],
    ids=["a line changed", "a line gone"],
)
def test_an_edited_input_names_a_command_that_takes_over_what_stays(
    tmp_path: Path, job: Path, batchroute: Command, servers: Servers, rows: Iterable[int], words: str
) -> None:
    assert batchroute("run", job).code == 0
    before = sum(map(asked, servers), Counter[str]())
    write_prompts(tmp_path, rows)
    said = batchroute("run", job)
    assert f"input.path changed (prompts.jsonl {words})" in said.err
    assert batchroute(*advised(said)).code == 0
    new = rows_of(tmp_path / "runs/pilot-2")
    paid = sum(map(asked, servers), Counter[str]()) - before
    assert paid.total() == sum(row["attempts"] for row in new) < 10
    assert len(new) == len(list(rows))


def test_what_was_appended_is_asked_for_alone_as_the_run_says(
    tmp_path: Path, job: Path, batchroute: Command, servers: Servers
) -> None:
    fixed = ("--set", "routing.threshold=0.4")
    assert batchroute("run", job, *fixed).code == 0
    before = sum(map(asked, servers), Counter[str]())
    write_prompts(tmp_path, range(103))
    said = batchroute("run", job, *fixed)
    assert said.code == 0
    advice = re.search(r"Another --output with (--set) (input\.reuse=\S+) asks for that alone", said.err)
    assert advice is not None
    assert batchroute("run", job, *fixed, "--output", "runs/all", *advice.groups()).code == 0
    paid = sum(map(asked, servers), Counter[str]()) - before
    assert paid == Counter(prompt_digest(prompt(row)) for row in range(100, 103))


def test_answers_that_a_killed_run_left_in_a_journal_are_taken_over_too(
    tmp_path: Path, job: Path, batchroute: Command, servers: Servers
) -> None:
    """What a stopped process leaves: the journal as it is, no part."""
    assert batchroute("run", job).code == 0
    whole = tmp_path / "runs/pilot"
    before = sum(map(asked, servers), Counter[str]())
    _unseal(whole)
    assert batchroute(*advised(batchroute("run", job, "--set", "routing.strong_fraction=0.3"))).code == 0
    new = rows_of(tmp_path / "runs/pilot-2")
    paid = sum(map(asked, servers), Counter[str]()).total() - before.total()
    assert 0 < paid == sum(row["attempts"] for row in new) < 20


def _unseal(run: Path) -> None:
    journal = Journal(run / "journal-00001")
    [part] = (run / "results").glob("*.parquet")
    [fingerprints] = (run / "requests").glob("*.parquet")
    keys = iter(pl.read_parquet(fingerprints)["fingerprint"].to_list())
    for row in pl.read_parquet(part).to_dicts():
        at = int(row.pop("finished_at").timestamp() * 1e6)
        journal.append(Result(**row, finished_at=at, fingerprint=next(keys)))
    journal.sync()
    journal.close()
    part.unlink()
    fingerprints.unlink()


def test_the_advised_command_keeps_a_secret_flag_to_itself(job: Path, batchroute: Command) -> None:
    assert batchroute("run", job).code == 0
    secret = ("--set", "endpoints.weak.headers.x-team=s3cr3t-value")
    said = batchroute("run", job, *secret, "--set", "routing.strong_fraction=0.4")
    assert "s3cr3t" not in said.err
    assert "endpoints.weak.headers.x-team=***" in advised(said)
