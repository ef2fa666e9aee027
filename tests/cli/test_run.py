"""Whole runs over every way input can come, through the command line, against simulated endpoints."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pytest

from checkpoints import routellm_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Said

    Command = Callable[..., Said]

SIDES = """
[router]
use = "length"
[routing]
threshold = 0.02
[endpoints.strong]
model = "gpt-6.1-sol"
simulate = { latency_s = 0 }
[endpoints.weak]
model = "gpt-6-luna"
simulate = { latency_s = 0 }
"""
ROWS = [
    {"id": "a", "prompt": "Hi", "topic": "talk"},
    {"id": "b", "prompt": "Prove that there are infinitely many primes, in two ways.", "topic": "maths"},
    {"id": "c", "prompt": "Danke!", "topic": None},
]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def job(folder: Path, section: str, output: str = "run") -> Path:
    path = folder / "job.toml"
    path.write_text(f'[input]\n{section}\n[output]\npath = "{output}"\n{SIDES}')
    return path


def results(run: Path) -> list[dict[str, Any]]:
    return pl.read_parquet(run / "results" / "*.parquet").sort("file", "row").to_dicts()


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pl.DataFrame(rows).write_parquet(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The same rows in every format, and in a folder of three files."""
    (tmp_path / "rows.jsonl").write_bytes(LINES)
    (tmp_path / "rows.ndjson.gz").write_bytes(gzip.compress(LINES))
    (tmp_path / "rows.jsonl.zst").write_bytes(zstd(LINES))
    write_parquet(tmp_path / "rows.parquet", ROWS)
    for number, row in enumerate(ROWS):
        folder = tmp_path / "folder" / f"part={number}"
        folder.mkdir(parents=True)
        write_parquet(folder / "rows.parquet", [row])
    (tmp_path / "folder" / "_metadata").write_text("not rows")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "files"),
    [
        ('"rows.jsonl"', ["rows.jsonl"] * 3),
        ('"rows.ndjson.gz"', ["rows.ndjson.gz"] * 3),
        ('"rows.jsonl.zst"', ["rows.jsonl.zst"] * 3),
        ('"rows.parquet"', ["rows.parquet"] * 3),
        ('"folder"', [f"part={n}/rows.parquet" for n in range(3)]),
        ('"folder/*/rows.parquet"', [f"part={n}/rows.parquet" for n in range(3)]),
        ('["folder/part=1", "rows.parquet"]', ["folder/part=1/rows.parquet", *["rows.parquet"] * 3]),
        ('"${SHAPE}.parquet"', ["rows.parquet"] * 3),
    ],
)
def test_every_kind_of_file(data: Path, batchroute: Command, path: str, files: list[str]) -> None:
    said = batchroute(
        "run", job(data, f'path = {path}\nid = "id"\nkeep = ["topic"]'), "--quiet", "--var", "SHAPE=rows"
    )
    assert said.code == 0, said.err
    rows = results(data / "run")
    assert [row["file"] for row in rows] == files
    assert {row["id"] for row in rows} == {"a", "b", "c"}
    assert {row["id"]: row["topic"] for row in rows} == {"a": "talk", "b": "maths", "c": None}
    assert {row["id"]: row["route"] for row in rows} == {"a": "weak", "b": "strong", "c": "weak"}
    assert all(row["status"] == "ok" and row["response"] and row["cost_usd"] > 0 for row in rows)


def test_two_nights_are_two_directories(data: Path, batchroute: Command) -> None:
    path = job(data, 'path = "rows.jsonl"', output="runs/${DATE}")
    for night in ("2026-11-23", "2026-11-24"):
        assert batchroute("run", path, "--quiet", "--var", f"DATE={night}").code == 0
        assert len(results(data / "runs" / night)) == 3
    again = batchroute("run", path, "--var", "DATE=2026-11-23")
    assert "complete already, nothing was sent" in again.err
    assert batchroute("run", path).code == 2, "no night is named"


def test_sums_of_the_results_are_those_of_the_report(data: Path, batchroute: Command) -> None:
    said = batchroute("run", job(data, 'path = "rows.jsonl"'), "--json")
    report = json.loads(said.out)
    rows = results(data / "run")
    assert report == {**report, "rows": 3, "ok": 3, "refused": 0, "failed": 0, "remaining": 0, "state": "complete"}
    assert report["cost_usd"] == pytest.approx(sum(row["cost_usd"] for row in rows))
    assert report["prompt_tokens"] == sum(row["prompt_tokens"] for row in rows)
    assert report["attempts"] == sum(row["attempts"] for row in rows)
    assert report["savings_usd"] == pytest.approx(report["all_strong_usd"] - report["total_usd"])


def test_messages_as_structs_and_as_json(data: Path, batchroute: Command) -> None:
    chat = [{"role": "system", "content": "Be terse."}, {"role": "user", "content": "Why is the sky blue?"}]
    write_parquet(data / "chat.parquet", [{"chat": chat}])
    (data / "chat.jsonl").write_text(json.dumps({"chat": chat}) + "\n" + json.dumps({"chat": json.dumps(chat)}))
    for name, count in (("chat.parquet", 1), ("chat.jsonl", 2)):
        said = batchroute(
            "run", job(data, f'path = "{name}"\nmessages = "chat"', output=f"run-{count}"), "--quiet"
        )
        assert said.code == 0, said.err
        rows = results(data / f"run-{count}")
        assert [row["status"] for row in rows] == ["ok"] * count
        assert len({row["prompt_tokens"] for row in rows}) == 1


def test_a_template_over_columns(data: Path, batchroute: Command) -> None:
    section = 'path = "rows.jsonl"\ntemplate = "About {{ topic }}: {{ prompt }}"\nsystem = "Be kind."'
    assert batchroute("run", job(data, section), "--quiet").code == 3
    rows = results(data / "run")
    assert [row["status"] for row in rows] == ["ok", "ok", "refused"]
    assert "topic" in rows[2]["error"]


def test_a_batch_file_goes_through_and_comes_out_as_one(data: Path, batchroute: Command) -> None:
    def line(number: int, url: str = "/v1/chat/completions") -> str:
        body = {"model": "gpt-4o", "max_tokens": 9, "messages": [{"role": "user", "content": f"Say {number}."}]}
        return json.dumps({"custom_id": f"r-{number}", "method": "POST", "url": url, "body": body}) + "\n"

    (data / "batch.jsonl").write_text(line(1) + line(2) + line(3, "/v1/embeddings"))
    assert batchroute("run", job(data, 'path = "batch.jsonl"\nformat = "openai-batch"'), "--quiet").code == 3
    rows = results(data / "run")
    assert [row["id"] for row in rows] == ["r-1", "r-2", "r-3"]
    assert [row["status"] for row in rows] == ["ok", "ok", "refused"]
    assert {row["model"] for row in rows[:2]} <= {"gpt-6.1-sol", "gpt-6-luna"}
    assert all(row["completion_tokens"] <= 9 for row in rows[:2]), "the body's own max_tokens reached the endpoint"
    assert batchroute("export", data / "run", data / "out.jsonl", "--format", "openai-batch").code == 0
    answers = [json.loads(answer) for answer in (data / "out.jsonl").read_text().splitlines()]
    assert [answer["custom_id"] for answer in answers] == ["r-1", "r-2", "r-3"]
    assert answers[0]["response"]["status_code"] == 200
    assert answers[0]["response"]["body"]["choices"][0]["message"]["content"]
    assert answers[2]["response"] is None
    assert answers[2]["error"]


def test_rows_bring_params_and_may_choose_their_side(data: Path, batchroute: Command) -> None:
    rows = [
        {"prompt": "one", "params": {"max_tokens": 3}, "route": "strong"},
        {"prompt": "two", "params": None, "route": None},
        {"prompt": "three", "params": {"model": "other"}, "route": None},
        {"prompt": "four", "params": None, "route": "middle"},
    ]
    (data / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    section = 'path = "own.jsonl"\nparams = "params"\nroute = "route"'
    assert batchroute("run", job(data, section), "--quiet").code == 3
    forced, scored, bad_params, bad_route = results(data / "run")
    assert (forced["route"], forced["route_reason"], forced["finish_reason"]) == ("strong", "override", "length")
    assert (scored["route"], scored["route_reason"]) == ("weak", "score")
    assert "model" in bad_params["error"]
    assert "middle" in bad_route["error"] or "route" in bad_route["error"]


def test_a_limit_may_grow_where_a_threshold_is_given(data: Path, batchroute: Command) -> None:
    path = job(data, 'path = "rows.jsonl"')
    assert batchroute("run", path, "--quiet", "--limit", 1).code == 0
    assert len(results(data / "run")) == 1
    said = batchroute("run", path, "--json")
    assert said.code == 0
    assert [row["attempts"] for row in results(data / "run")] == [1, 1, 1]
    assert json.loads(said.out)["rows"] == 3


def test_a_limit_holds_though_more_is_scored(data: Path, batchroute: Command) -> None:
    path = job(data, 'path = "rows.jsonl"')
    assert batchroute("plan", path, "--json").code == 0
    said = batchroute("run", path, "--json", "--limit", 2)
    assert said.code == 0
    assert [row["row"] for row in results(data / "run")] == [0, 1]


def test_a_share_is_resolved_anew_over_more_rows_where_those_answered_stay(
    data: Path, batchroute: Command
) -> None:
    path = job(data, 'path = "rows.jsonl"')
    share = ("--quiet", "--set", "routing.strong_fraction=0.5")
    assert batchroute("run", path, *share, "--limit", 2).code == 0
    assert [row["route"] for row in results(data / "run")] == ["weak", "strong"]
    assert batchroute("run", path, *share).code == 0
    assert [row["route"] for row in results(data / "run")] == ["weak", "strong", "strong"]


def test_a_complete_job_says_so_and_sends_nothing(data: Path, batchroute: Command) -> None:
    path = job(data, 'path = "rows.jsonl"')
    assert batchroute("run", path, "--quiet").code == 0
    before = sorted((entry.name, entry.stat().st_size) for entry in (data / "run" / "results").iterdir())
    said = batchroute("run", path)
    assert said.code == 0
    assert "nothing was sent" in said.err
    assert sorted((entry.name, entry.stat().st_size) for entry in (data / "run" / "results").iterdir()) == before


def test_a_share_is_met_exactly_and_scores_are_stored(data: Path, batchroute: Command) -> None:
    lines = "".join(json.dumps({"prompt": "word " * n}) + "\n" for n in range(1, 201))
    (data / "many.jsonl").write_text(lines)
    path = job(data, 'path = "many.jsonl"')
    assert batchroute("run", path, "--quiet", "--set", "routing.strong_fraction=0.25").code == 0
    rows = results(data / "run")
    assert sum(row["route"] == "strong" for row in rows) == 50
    stored = pl.read_parquet(data / "run" / "scores" / "*.parquet").sort("row")
    assert stored["score"].to_list() == [row["score"] for row in rows]
    assert batchroute("score", path, "-o", data / "scores.parquet", "--quiet").code == 0
    again = pl.read_parquet(data / "scores.parquet")
    assert again.columns == ["file", "row", "id", "score"]
    assert again["score"].to_list() == stored["score"].to_list()


RECIPES = ["dataset-generation", "demo", "local-pair", "openai-batch", "openai-nightly", "routellm-checkpoint"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_is_fit_to_run(
    data: Path, batchroute: Command, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, recipe: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-a-real-key")
    line = {"passage_id": 1, "passage": "Rain fell.", "language": "English", "licence": "CC0", "prompt": "Hi"}
    body = {"custom_id": "r", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": []}}
    (data / "passages.jsonl").write_text(json.dumps(line | body))
    (data / "prompts" / "2026-11-23").mkdir(parents=True)
    write_parquet(data / "prompts" / "2026-11-23" / "rows.parquet", ROWS)
    names = {"DATE": "2026-11-23", **dict.fromkeys(("DATA", "PROMPTS", "REQUESTS"), data / "passages.jsonl")}
    names["MODEL"] = routellm_checkpoint(data / "mf.safetensors")
    variables = [f"--var={name}={value}" for name, value in names.items()]
    nightly = [f"--set=input.path={data}/prompts/2026-11-23/*.parquet"] if recipe == "openai-nightly" else []
    path = request.config.rootpath / "jobs" / f"{recipe}.toml"
    said = batchroute("check", path, *variables, *nightly, "--output", data / "run")
    assert said.code == 0, said.err
    assert "fit to run" in said.out
