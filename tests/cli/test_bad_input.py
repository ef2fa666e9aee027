"""What SPEC promises for input and jobs that are wrong: the exit code, one clear message, nothing lost."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from command import Said, assert_one_message
from jobs import on_both, simulated, write_job
from runs import ok, write_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Command = Callable[..., Said]

GOOD = b'{"prompt": "What is the capital of France?"}\n'


@pytest.fixture
def job(tmp_path: Path) -> Path:
    (tmp_path / "prompts.jsonl").write_bytes(GOOD)
    return write(tmp_path)


def write(folder: Path, *changes: dict[str, Any]) -> Path:
    return write_job(folder, simulated(latency_s=0), *changes)


def write_prompts(job: Path, content: bytes) -> None:
    (job.parent / "prompts.jsonl").write_bytes(content)


def results(job: Path) -> list[dict[str, Any]]:
    parts = pl.read_parquet(job.parent / "run" / "results" / "*.parquet")
    return parts.sort("file", "row").to_dicts()


def assert_nothing_begun(job: Path) -> None:
    run = job.parent / "run"
    assert not (run / "results").exists() or not any((run / "results").glob("*.parquet"))


def test_an_empty_file_is_no_rows_and_one_empty_part(job: Path, batchroute: Command) -> None:
    write_prompts(job, b"")
    assert batchroute("run", job, "--quiet").code == 0
    part = pl.read_parquet(job.parent / "run" / "results" / "part-00000.parquet")
    assert part.height == 0
    assert part.columns[:5] == ["file", "row", "id", "score", "route"]
    assert (job.parent / "run" / "_SUCCESS").exists()


def test_a_zero_byte_parquet_file(job: Path, batchroute: Command) -> None:
    (job.parent / "empty.parquet").touch()
    said = batchroute("run", job, "--set", f"input.path={job.parent / 'empty.parquet'}")
    assert_one_message(said, 2, "empty.parquet")
    assert_nothing_begun(job)


def test_a_column_that_a_parquet_file_lacks(job: Path, batchroute: Command) -> None:
    pl.DataFrame({"question": ["a"], "n": [1]}).write_parquet(job.parent / "q.parquet")
    said = batchroute("run", job, "--set", f"input.path={job.parent / 'q.parquet'}")
    assert_one_message(said, 2, "prompt", "question")
    assert_nothing_begun(job)


def test_a_kept_column_that_a_parquet_file_lacks(job: Path, batchroute: Command) -> None:
    pl.DataFrame({"prompt": ["a"]}).write_parquet(job.parent / "q.parquet")
    changes = ("--set", f"input.path={job.parent / 'q.parquet'}", "--set", 'input.keep=["topic"]')
    assert_one_message(batchroute("run", job, *changes), 2, "topic", "q.parquet")
    assert_nothing_begun(job)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"prompt": "torn\n', "line 2: not JSON"),
        (b'{"prompt": "caf\xe9"}\n', "line 2: not UTF-8"),
        (b'{"prompt": null}\n', "line 2: column 'prompt' is missing or null"),
        (b'{"question": "?"}\n', "line 2: column 'prompt' is missing or null"),
        (b'{"prompt": 7}\n', "line 2: column 'prompt'"),
        (b"[1, 2]\n", "line 2: "),
    ],
)
def test_a_bad_line_is_a_refused_row_and_not_the_end(
    job: Path, batchroute: Command, line: bytes, message: str
) -> None:
    write_prompts(job, GOOD + line + GOOD)
    assert batchroute("run", job, "--quiet").code == 3
    ok, refused, also_ok = results(job)
    assert (ok["status"], also_ok["status"]) == ("ok", "ok")
    assert refused["status"] == "refused"
    assert refused["error"].startswith(message)
    assert (refused["attempts"], refused["route"], refused["cost_usd"]) == (0, None, None)
    assert message in batchroute("check", job).out


def test_several_choices_are_refused_where_only_one_would_be_kept(job: Path, batchroute: Command) -> None:
    write_prompts(job, b'{"prompt": "a", "params": {"n": 2}}\n{"prompt": "b", "params": {"n": 1}}\n')
    changes = ("--quiet", "--set", "input.params=params")
    assert batchroute("run", job, *changes).code == 3
    assert [row["status"] for row in results(job)] == ["refused", "ok"]
    assert "output.raw" in results(job)[0]["error"]
    raw = ("--set", "output.raw=true", "--output", job.parent / "raw")
    assert batchroute("run", job, *changes, *raw).code == 0


def test_a_share_of_refused_rows_can_be_put_up_with(job: Path, batchroute: Command) -> None:
    write_prompts(job, GOOD + b"torn\n")
    assert batchroute("run", job, "--quiet", "--set", "limits.ok_if_refused=0.5").code == 0
    assert batchroute("run", job, "--quiet", "--set", "limits.ok_if_refused=0.49").code == 3


def test_a_lone_surrogate_is_answered_and_counted(job: Path, batchroute: Command) -> None:
    write_prompts(job, b'{"prompt": "half an emoji: \\ud83d"}\n')
    assert batchroute("run", job, "--quiet").code == 0
    assert results(job)[0]["status"] == "ok"
    assert "1 lone surrogates become U+FFFD" in batchroute("check", job).out


def test_a_prompt_of_five_megabytes(job: Path, batchroute: Command) -> None:
    write_prompts(job, json.dumps({"prompt": "word " * 1_000_000}).encode() + b"\n" + GOOD)
    assert batchroute("run", job, "--quiet").code == 0
    long, short = results(job)
    assert long["prompt_tokens"] > 1_000_000
    assert short["status"] == "ok"


def test_a_directory_without_a_match(job: Path, batchroute: Command) -> None:
    (job.parent / "none").mkdir()
    said = batchroute("run", job, "--set", f"input.path={job.parent / 'none'}")
    assert_one_message(said, 2, "none", "no input file matches")
    assert not (job.parent / "run").exists()


def test_an_output_path_that_is_a_file(job: Path, batchroute: Command) -> None:
    (job.parent / "run").write_text("mine")
    said = batchroute("run", job)
    assert_one_message(said, 2, "is a file", "output.path")
    assert (job.parent / "run").read_text() == "mine"
    for command in ("run", "plan", "check"):
        said = batchroute(command, job, "--quiet", "--output", job.parent / "run" / "below")
        assert_one_message(said, 2, "is a file", "output.path")


@pytest.mark.parametrize(
    "command",
    [
        ("score", "JOB", "-o", "gone/scores.parquet"),
        ("report", "RUN", "--html", "gone/page.html"),
        ("whatif", "RUN", "--threshold", "0.5", "--output", "gone/job.toml"),
        ("export", "RUN", "gone/rows.csv"),
    ],
)
def test_a_file_in_a_directory_that_is_not_there(
    job: Path, batchroute: Command, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(job.parent)
    run = write_run(job.parent / "finished", [[ok(0)]], rows=1)
    said = batchroute(*({"JOB": job, "RUN": run}.get(word, word) for word in command))
    assert said.code == 2
    assert "there is no directory gone; create it first" in said.err


def test_a_proxy_that_cannot_be_used_is_said_once(
    job: Path, batchroute: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "socks5://proxy.example:1080")
    monkeypatch.setenv("no_proxy", "")
    address = "http://provider.example/v1"
    sets = [f"endpoints.{side}.base_url={address}" for side in ("strong", "weak")]
    said = batchroute("check", job, "--quiet", *(word for each in sets for word in ("--set", each)))
    assert_one_message(said, 2, "http_proxy: must be an http or https address")


def test_an_output_directory_with_something_else_in_it(job: Path, batchroute: Command) -> None:
    (job.parent / "run").mkdir()
    (job.parent / "run" / "thesis.doc").write_text("mine")
    assert_one_message(batchroute("run", job), 2, "thesis.doc")
    assert (job.parent / "run" / "thesis.doc").read_text() == "mine"


def test_an_unknown_key_is_named_with_its_line_but_not_its_value(job: Path, batchroute: Command) -> None:
    write(job.parent, {"router.devise": "sk-a-secret-put-in-the-wrong-place"})
    text = job.read_text()
    line = 1 + text[: text.index("devise")].count("\n")
    said = batchroute("run", job)
    assert_one_message(said, 2, f"{job}:{line}: router.devise: unknown key", "did you mean device?")
    assert "sk-a-secret" not in said.err


def test_five_faults_are_all_told_at_once(job: Path, batchroute: Command) -> None:
    wrong = {"routing.threshold": 3, "router.use": 7, "router.batch_size": 0}
    write(job.parent, wrong, {"endpoints.strong.model": None, "endpoints.strong.max_concurrency": -1})
    said = batchroute("check", job)
    assert said.code == 2
    for key in ("router.use", "router.batch_size", "routing.threshold", "endpoints.strong.model"):
        assert f"{key}: " in said.err
    assert "endpoints.strong.max_concurrency: " in said.err


def test_a_key_variable_that_is_not_set(job: Path, batchroute: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    write_job(job.parent, on_both("api_key_env", "NO_SUCH_KEY"))
    said = batchroute("run", job)
    assert_one_message(said, 2, "NO_SUCH_KEY is not set", "endpoints.strong.api_key_env")
    assert not (job.parent / "run").exists()


def test_a_variable_in_a_path_that_is_not_set(
    job: Path, batchroute: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NIGHT", raising=False)
    write(job.parent, {"output.path": "run-${NIGHT}"})
    assert_one_message(batchroute("run", job), 2, "output.path", "${NIGHT} is not set")
    assert batchroute("run", job, "--quiet", "--var", "NIGHT=one").code == 0
    assert (job.parent / "run-one" / "_SUCCESS").exists()


def test_an_unknown_price_is_null_and_said(job: Path, batchroute: Command) -> None:
    write(job.parent, {"endpoints.strong.model": "house-brand-70b"})
    assert "price unknown" in batchroute("check", job).out
    assert batchroute("run", job, "--quiet", "--set", "routing.threshold=0").code == 0
    assert results(job)[0]["cost_usd"] is None
    report = json.loads(batchroute("report", job.parent / "run", "--json").out)
    assert (report["cost_unknown_rows"], report["savings_usd"]) == (1, None)


def test_an_unknown_price_does_not_go_with_a_budget(job: Path, batchroute: Command) -> None:
    unpriced = {"endpoints.strong.model": "house-brand-70b", **on_both("params", {"max_tokens": 9})}
    write(job.parent, unpriced, {"limits.max_cost_usd": 1})
    assert_one_message(batchroute("run", job), 2, "endpoints.strong.price")
    assert_nothing_begun(job)


def test_an_unreachable_host_stops_the_lanes_and_leaves_the_rows_undone(job: Path, batchroute: Command) -> None:
    write_prompts(job, GOOD * 20)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        write_job(job.parent, on_both("base_url", address), {"limits.outage_s": 0.5})
        said = batchroute("run", job, "--json")
    assert said.code == 4
    assert "Traceback" not in said.err
    assert "the weak lane stopped: does not answer" in said.err
    report = json.loads(said.out)
    assert (report["state"], report["ok"], report["failed"]) == ("incomplete", 0, 0)
    assert not (job.parent / "run" / "_SUCCESS").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run",), "Missing argument"),
        (("run", "none.toml"), "none.toml"),
        (("frobnicate",), "No such command"),
        (("score", "none.parquet", "-o", "x.parquet"), "none.parquet"),
        (("report", "nowhere"), "nowhere"),
        (("export", "nowhere", "x.parquet"), "nowhere"),
        (("simulate", "--fault", "cut"), "NAME=VALUE"),
        (("simulate", "--fault", "no-such=0.1"), "no-such"),
    ],
)
def test_bad_usage(batchroute: Command, arguments: tuple[str, ...], words: str) -> None:
    said = batchroute(*arguments)
    assert said.code == 2
    assert words in said.err
    assert "Traceback" not in said.err
