"""init: a job that `check` accepts for every form of data, valid TOML whatever the data are called."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.cli.init import RECIPES, key_variable
from batchroute.cli.recipes import recipe
from batchroute.run.propose.columns import propose
from batchroute.run.propose.jobfile import write_draft
from batchroute.run.propose.sample import Sample
from command import assert_one_message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from command import Said

    Command = Callable[..., Said]

ROOT = Path(__file__).parents[2]
KEY = "sk-canary-61fKq0"
LONG = "a long text " * 30
TURNS = [
    {"from": "system", "value": "Be terse."},
    {"from": "human", "value": "Why?"},
    {"from": "gpt", "value": "So."},
]


def row(n: int, **more: Any) -> dict[str, Any]:
    return {name: value.replace("#", str(n)) if isinstance(value, str) else value for name, value in more.items()}


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


# name: a row, and what [input] of its job must say beside the path
FORMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "prompt": (
        {"id": "a#", "prompt": "Why is it #?", "topic": "maths", "answer": LONG},
        {"prompt": "prompt", "id": "id", "keep": ["topic"]},
    ),
    "question": ({"question": "What is #?", "answer": LONG}, {"prompt": "question"}),
    "longest": ({"a": "x #", "b": f"# {LONG}"}, {"prompt": "b"}),
    "upper": (
        {"Prompt": "What is #?", "ID": "#", "level": 3},
        {"prompt": "Prompt", "id": "ID", "keep": ["level"]},
    ),
    "word": (
        {"ticket id": "#", "customer message": "It broke, #!", "agent reply": LONG},
        {"prompt": "customer message", "id": "ticket id"},
    ),
    "preferences": ({"chosen": LONG, "rejected": LONG, "task": "Do #"}, {"prompt": "task"}),
    "answered": ({"messages": [*chat("Hi #"), {"role": "assistant", "content": "Hi"}]}, {"template": "messages"}),
    "messages": ({"messages": chat("Hi #"), "uuid": "u#"}, {"messages": "messages", "id": "uuid"}),
    "json_messages": ({"chat": json.dumps(chat("Hi #"))}, {"messages": "chat"}),
    "prompt_goes_first": ({"prompt": "Hi #", "messages": chat("Hi")}, {"prompt": "prompt"}),
    "sharegpt": ({"conversations": TURNS}, {"template": "conversations"}),
    "alpaca": ({"instruction": "Sum up #", "input": "", "output": LONG}, {"template": "instruction"}),
    "batch": (
        {"custom_id": "r#", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": chat("#")}},
        {"format": "openai-batch"},
    ),
    "odd": ({'Fr"age\n[ü] \\ = #1': "What?" + LONG, "n_id": "#"}, {"prompt": 'Fr"age\n[ü] \\ = #1', "id": "n_id"}),
    "bell": ({"bell\x07": "a text #", "${HOME}": 3}, {"prompt": "bell\x07", "keep": ["${HOME}"]}),
}
PARQUET = ["prompt", "messages", "json_messages", "sharegpt", "answered", "alpaca", "odd"]
JSON = ["prompt", "messages", "sharegpt", "alpaca", "odd", "bell"]
CSV = ["prompt", "question", "upper", "word", "json_messages", "alpaca", "odd"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one, where the user stands, with a key for the provider."""
    monkeypatch.chdir(tmp_path)
    for name in RECIPES:
        if (variable := key_variable(name)) is not None:
            monkeypatch.delenv(variable, raising=False)
            monkeypatch.delenv(f"{variable}_FILE", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return tmp_path


def write_rows(path: Path, form: str, rows: int = 20) -> None:
    wanted = [row(n, **FORMS[form][0]) for n in range(rows)]
    if path.suffix == ".parquet":
        pl.DataFrame(wanted).write_parquet(path)
    elif path.suffix == ".csv":
        pl.DataFrame(wanted).write_csv(path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(wanted))
    else:
        path.write_text("".join(json.dumps(each) + "\n" for each in wanted))


def values(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("form", "suffix"),
    [
        *((form, "jsonl") for form in FORMS),
        *((form, "parquet") for form in PARQUET),
        *((form, "json") for form in JSON),
        *((form, "csv") for form in CSV),
    ],
)
def test_the_job_is_fit_to_run_for_every_form_of_data(
    folder: Path, batchroute: Command, form: str, suffix: str
) -> None:
    write_rows(folder / f"data.{suffix}", form)
    said = batchroute("init", f"data.{suffix}")
    assert said.code == 0, said.err
    checked = batchroute("check", "data.toml")
    assert checked.code == 0, checked.err
    assert "will be refused" not in checked.out
    found = values(folder / "data.toml")
    assert found["input"].pop("path") == f"data.{suffix}"
    for key, wanted in FORMS[form][1].items():
        assert wanted in found["input"][key] if key == "template" else wanted == found["input"][key]
    assert (found["endpoints"]["strong"]["model"], found["endpoints"]["weak"]["model"]) == (
        "gpt-6.1-sol",
        "gpt-6-luna",
    )
    assert found["limits"]["max_cost_usd"] > 0
    assert KEY not in (folder / "data.toml").read_text() + said.out + said.err


@pytest.mark.parametrize("form", ["sharegpt", "answered", "alpaca"])
def test_a_template_asks_every_row(folder: Path, batchroute: Command, form: str) -> None:
    write_rows(folder / "data.jsonl", form)
    assert batchroute("init", "data.jsonl").code == 0
    simulated = "endpoints.{0}.simulate={{latency_s=0}}"
    sets = [part for side in ("strong", "weak") for part in ("--set", simulated.format(side))]
    assert batchroute("run", "data.toml", "--quiet", *sets).code == 0
    results = pl.read_parquet(folder / "runs" / "data" / "results" / "*.parquet")
    assert results["status"].unique().to_list() == ["ok"]


@pytest.mark.parametrize("provider", list(RECIPES))
def test_the_provider_whose_key_is_set_is_proposed(
    folder: Path, batchroute: Command, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    variable = key_variable(provider)
    if variable is not None:
        monkeypatch.setenv(variable, KEY)
    write_rows(folder / "data.jsonl", "prompt")
    chosen = () if variable else ("--provider", provider)
    said = batchroute("init", "data.jsonl", *chosen)
    assert said.code == 0, said.err
    assert values(folder / "data.toml")["endpoints"] == values(recipe(RECIPES[provider]))["endpoints"]
    assert batchroute("check", "data.toml").code == 0
    assert KEY not in (folder / "data.toml").read_text() + said.out + said.err


def test_without_a_key_it_says_which_to_set(
    folder: Path, batchroute: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    said = batchroute("init")
    assert "export OPENAI_API_KEY=..." in said.out
    assert "export OPENAI_API_KEY=..." in (folder / "job.toml").read_text()


def test_without_data_it_says_what_to_fill_in(folder: Path, batchroute: Command) -> None:
    said = batchroute("init")
    assert said.code == 0
    assert "fill in input.path" in said.out
    text = (folder / "job.toml").read_text()
    assert text.count("FILL IN") == 2
    assert batchroute("check", "job.toml").code == 2, "there are no such data"
    write_rows(folder / "prompts.jsonl", "prompt")
    assert batchroute("check", "job.toml").code == 0


def test_a_file_that_is_there_stays(folder: Path, batchroute: Command) -> None:
    (folder / "job.toml").write_text("mine")
    assert_one_message(batchroute("init"), 2, "job.toml", "--force", "-o JOB")
    assert (folder / "job.toml").read_text() == "mine"
    assert batchroute("init", "--force").code == 0
    assert batchroute("init", "-o", "other.toml").code == 0
    (folder / "sub").mkdir()
    assert_one_message(batchroute("init", "-o", "sub", "--force"), 2, "is a directory")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no input file matches"),
        (b"", "has no rows"),
        (b"not json\nat all\n", "not one line is a row"),
        (b'{"n": 1}\n{"n": 2}\n', "no column holds text"),
    ],
)
def test_data_that_cannot_be_read(folder: Path, batchroute: Command, content: bytes | None, words: str) -> None:
    if content is not None:
        (folder / "data.jsonl").write_bytes(content)
    assert_one_message(batchroute("init", "data.jsonl"), 2, words)
    assert not (folder / "data.toml").exists()


def test_a_folder_of_several_formats(folder: Path, batchroute: Command) -> None:
    (folder / "in").mkdir()
    for name in ("a.parquet", "b.jsonl", "c.csv"):
        write_rows(folder / "in" / name, "prompt")
    assert batchroute("init", "in").code == 0
    assert values(folder / "in.toml")["input"]["prompt"] == "prompt"
    checked = batchroute("check", "in.toml")
    assert checked.code == 0, checked.err


def test_what_is_no_data_is_named(folder: Path, batchroute: Command) -> None:
    write_rows(folder / "data.jsonl", "prompt")
    assert batchroute("init", "data.jsonl").code == 0
    assert_one_message(batchroute("init", "data.toml", "-o", "x.toml"), 2, "job file already", "batchroute check")
    simulated = [f"endpoints.{side}.simulate={{latency_s=0}}" for side in ("strong", "weak")]
    sets = [part for each in simulated for part in ("--set", each)]
    assert batchroute("run", "data.toml", "--quiet", *sets).code == 0
    assert_one_message(batchroute("init", "runs/data"), 2, "run directory", "runs/data/results")
    again = batchroute("init", "runs/data/results", "-o", "again.toml")
    assert again.code == 0, again.err
    assert values(folder / "again.toml")["input"]["prompt"] != "response"


def test_a_column_can_be_named(folder: Path, batchroute: Command) -> None:
    write_rows(folder / "data.jsonl", "prompt")
    assert_one_message(batchroute("init", "data.jsonl", "--prompt", "answr"), 2, "did you mean 'answer'")
    assert batchroute("init", "data.jsonl", "--prompt", "answer").code == 0
    assert values(folder / "data.toml")["input"]["prompt"] == "answer"


@pytest.mark.parametrize(
    ("data", "job", "path", "output"),
    [
        ("in/data.jsonl", "in/x.toml", "data.jsonl", "runs/x"),
        ("in/data.jsonl", "jobs/x.toml", "{0}/in/data.jsonl", "runs/x"),
        ("in", "in/x.toml", "{0}/in", "{0}/runs/x"),
        ("in/*.jsonl", None, "in/*.jsonl", "runs/job"),
    ],
)
def test_paths_hold_from_where_the_job_lies(
    folder: Path, batchroute: Command, data: str, job: str | None, path: str, output: str
) -> None:
    for name in ("in", "jobs"):
        (folder / name).mkdir()
    write_rows(folder / "in" / "data.jsonl", "prompt")
    assert batchroute("init", data, *(() if job is None else ("-o", job))).code == 0
    written = folder / (job or "job.toml")
    found = values(written)
    assert found["input"]["path"] == path.format(folder)
    assert found["output"]["path"] == output.format(folder)
    assert batchroute("check", written).code == 0


def test_the_wheel_has_every_recipe_it_takes_endpoints_from() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {f"jobs/{name}.toml" for name in RECIPES.values()} <= wheel["force-include"].keys()


NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
CELLS = st.one_of(st.none(), st.text(max_size=8), st.integers(-9, 9), st.just(TURNS), st.just(chat("x")))


@given(st.dictionaries(NAMES, CELLS, max_size=4), NAMES, NAMES)
def test_whatever_the_columns_and_files_are_called_it_is_a_job(
    row: dict[str, Any], prompt: str, path: str
) -> None:
    rows: Sequence[dict[str, Any]] = [{**row, prompt: "What is it?"}]
    proposal = propose(Sample(list(rows), unreadable=1), prompt)
    text = write_draft(
        path=path,
        output="run",
        proposal=proposal,
        recipe=recipe("openai-nightly").read_text(),
        head=[path, prompt],
        max_cost_usd=1.0,
    )
    found = tomllib.loads(text)["input"]
    assert (found["path"], found["prompt"], found.get("id"), found["keep"]) == (
        path,
        prompt,
        proposal.id,
        proposal.keep,
    )
    assert {*proposal.keep, proposal.id, prompt, *proposal.others} - {None} == rows[0].keys()
