from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from batchroute.errors import JobFault
from batchroute.job.load import MASKED, load_job, resolved_toml, scoring_sections
from batchroute.job.settings import frozen_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.job.spec import Job

JOBS = Path(__file__).parents[2] / "jobs"
CANARY = "canary-0123456789"
SMALL = """\
[input]
path = "a.jsonl"
[output]
path = "run"
[routing]
strong_fraction = 0.5
[endpoints.strong]
model = "gpt-6.1-sol"
simulate = {}
[endpoints.weak]
model = "gpt-6-luna"
simulate = {}
"""


def written(folder: Path, text: str = SMALL, name: str = "nightly.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def load(path: Path, *sets: str, environ: Mapping[str, str] | None = None, **options: Any) -> Job:
    return load_job(path, sets=sets, environ=environ or {}, **options)


def faults(path: Path, *sets: str, **options: Any) -> list[str]:
    """The faults, without the file's name."""
    with pytest.raises(JobFault) as caught:
        load(path, *sets, **options)
    return [fault.removeprefix(str(path)) for fault in caught.value.faults]


def test_a_job_is_named_after_its_file(tmp_path: Path) -> None:
    assert load(written(tmp_path)).name == "nightly"
    assert load(written(tmp_path, f'name = "other"\n{SMALL}')).name == "other"


WRONG = """\
nmae = "x"
[input]
path = [
  "a.jsonl",
  3,
  "x/${DATE}/b",
]
prompt = "p"
messages = "m"
[output]
pth = "../o"
max_cost_usd = 3
[routing]
threshold = 3.0
strong_fraction = "0.1"
[endpoints.strong]
model = "gpt-6.1-sol"
base_url = "https://u:canary-0123456789@x/v1"
params = { n = 2, stream = true }
headers = { "x-t" = { env = "TEAM_TOKEN" } }
price.input = -1
[endpoints.weak]
simulate = { latency = 1 }
[canary]
key = "canary-0123456789"
"""


def test_every_fault_comes_at_once_with_its_line(tmp_path: Path) -> None:
    found = faults(written(tmp_path, WRONG), "limits.drain_s=x", "routing.foo=1", require_keys=True)
    assert [fault.split(": ")[0] for fault in found if fault.startswith("--set")] == [
        "--set routing.foo",
        "--set limits.drain_s",
    ]
    assert [fault.split(": ")[:2] for fault in found if not fault.startswith("--set")] == [
        [":1", "nmae"],
        [":5", "input.path[1]"],
        [":6", "input.path[2]"],
        [":9", "input.messages"],
        [":10", "output.path"],
        [":11", "output.pth"],
        [":12", "output.max_cost_usd"],
        [":14", "routing.threshold"],
        [":14", "routing.threshold"],
        [":15", "routing.strong_fraction"],
        [":18", "endpoints.strong.base_url"],
        [":19", "endpoints.strong.params.stream"],
        [":19", "endpoints.strong.params.n"],
        [":20", "endpoints.strong.headers.x-t"],
        [":21", "endpoints.strong.price.input"],
        [":21", "endpoints.strong.price.output"],
        [":22", "endpoints.weak.model"],
        [":23", "endpoints.weak.simulate.latency"],
        [":24", "canary"],
    ]
    assert CANARY[:8] not in "".join(fault.partition(": canary: ")[0] for fault in found)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("[routing]\nthreshhold = 1", "unknown key; did you mean threshold?"),
        ("[routing]\nmax_cost_usd = 1", "unknown key; it belongs in [limits]"),
        ("[routing]\nzzz = 1", "unknown key; remove it"),
        ("model = 'x'", "it belongs in [endpoints.strong], [endpoints.weak] or [router]"),
        ("[limits]\nbudget_usd = 1", "unknown key; it belongs in [routing]"),
        ("[endpoints.weak]\nmax_tokens = 5", "unknown key; it goes into the request, so it belongs in params"),
        ("[endpoints.weak]\ntemperature = 0", "unknown key; it goes into the request, so it belongs in params"),
        ("[endpoints.weak]\napi_key = 'canary-0123456789'", "unknown key; did you mean api_key_env?"),
        ("[endpoints.weak]\nurl = 'x'", "unknown key; did you mean base_url?"),
        ("[endpoints.weak]\nrpm = 5", "unknown key; did you mean requests_per_minute?"),
        ("[endpoints.weak]\nmax_retries = 5", "unknown key; did you mean max_attempts?"),
        ("[input]\nfile = 'x'", "unknown key; did you mean path?"),
        ("[routing]\nfraction = 0.1", "unknown key; did you mean strong_fraction?"),
        ("budget = 5", "unknown key; did you mean limits.max_cost_usd?"),
        ("[endpoint.weak]\nmodel = 'x'", "endpoint: unknown key; did you mean endpoints?"),
        ("[routing]\nthreshold = '1'", "must be a number; write 1"),
        ("[routing]\nthreshold = 'high'", "must be a number"),
        ("[routing]\nthreshold = 2", "must be 1 or less; scores lie in [0, 1]"),
        ("[routing]\nstrong_fraction = 20", "must be 1 or less; 20 % is 0.20"),
        ("[routing]\nstrong_fraction = 2000", "must be 1 or less"),
        ("[routing]\nstrong_fraction = '7,5 %'", "must be a number; 7.5 % is 0.075"),
        ("[limits]\nok_if_refused = -1", "must be 0 or more"),
        ("[limits]\noutage_s = 0", "must be above 0"),
        ("[limits]\nstop_after_same_refusal = 1.5", "must be a whole number"),
        ("[limits]\non_budget = 'x'", 'must be "stop" or "downgrade"'),
        ("[output]\nraw = 1", "must be true or false"),
        ("[output]\npath = 1", "must be a text in quotes"),
        ("[output]\npath = ''", "must not be empty; name one or remove the key"),
        ("[input]\npath = []", "must not be empty; name one"),
        ("[input]\nkeep = 1", "must be a text or a list of texts"),
        ("[router]\nembedder = 1", "must be a table"),
        ("[limits]\ndrain_s = inf", "must be a finite number"),
    ],
)
def test_a_fault_says_what_to_do(tmp_path: Path, line: str, fault: str) -> None:
    assert any(found.endswith(fault) for found in faults(written(tmp_path, line)))


def test_paths_are_taken_from_the_job_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    text = SMALL.replace('"a.jsonl"', '["a.jsonl", "../b/*.parquet", "/c", "s3://bucket/d"]')
    path = written(tmp_path / "jobs", f'{text}[router]\nmodel = "../m"\n')
    for job in (load(path), load(Path("../jobs/nightly.toml"))):
        assert job.input.path == [
            f"{tmp_path}/jobs/a.jsonl",
            f"{tmp_path}/b/*.parquet",
            "/c",
            "s3://bucket/d",
        ]
        assert job.output.path == f"{tmp_path}/jobs/run"
        assert job.router.model == f"{tmp_path}/m"


@pytest.mark.parametrize("address", ["s3://bucket/run", "gs://bucket/run", "file:///data/run", "${PLACE}/run"])
@pytest.mark.parametrize("key", ["output.path", "router.embedder.cache"])
def test_what_is_written_to_is_a_directory(tmp_path: Path, key: str, address: str) -> None:
    """Also where a path was made of it, which has lost a slash: in Python, or by --output."""
    wanted = f"{key}: must be a directory, not an address; give a directory that all workers share"
    environ = {"PLACE": "s3://bucket"}
    by_set = faults(written(tmp_path), f"{key}={address}", environ=environ)
    assert [wanted in fault for fault in by_set] == [True]
    if key == "output.path":
        [by_flag] = faults(written(tmp_path), output=Path(address), environ=environ)
        assert wanted in by_flag
        in_file = faults(written(tmp_path, SMALL.replace('path = "run"', f'path = "{address}"')), environ=environ)
        assert any(wanted in fault for fault in in_file)


def test_paths_of_flags_are_taken_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    job = load(path, "input.path=b.jsonl", "input.reuse=['old']", output=Path("out"))
    assert (job.input.path, job.input.reuse) == ([f"{tmp_path}/here/b.jsonl"], [f"{tmp_path}/here/old"])
    assert job.output.path == f"{tmp_path}/here/out"


def test_an_embedding_model_is_a_name_unless_it_looks_like_a_path(tmp_path: Path) -> None:
    def model(text: str) -> str | None:
        embedder = f"[router.embedder]\nuse = 'sentence-transformers'\nmodel = '{text}'\n"
        return load(written(tmp_path, SMALL + embedder)).router.embedder.model

    assert model("intfloat/e5-small") == "intfloat/e5-small"
    assert model("./e5-small") == f"{tmp_path}/e5-small"


def test_variables_come_before_the_environment(tmp_path: Path) -> None:
    path = written(tmp_path, SMALL.replace("a.jsonl", "${DAY}/${KIND}.jsonl"))
    job = load(path, environ={"DAY": "monday", "KIND": "qa"}, variables={"DAY": "tuesday"})
    assert job.input.path == [f"{tmp_path}/tuesday/qa.jsonl"]


def test_an_unset_variable_is_a_fault_that_names_it(tmp_path: Path) -> None:
    path = written(tmp_path, SMALL.replace("a.jsonl", "${DAY}/${}.jsonl"))
    assert faults(path) == [
        ":2: input.path: ${DAY} is not set; give --var DAY=VALUE or set it in the environment",
        ":2: input.path: ${} is not set; give --var =VALUE or set it in the environment",
    ]
    assert load(path, "input.path=b.jsonl").input.path


@pytest.mark.parametrize(
    ("text", "value", "gone"),
    [
        ("routing.threshold=0.25", ("routing", "threshold", 0.25), ("routing", "strong_fraction")),
        ("endpoints.strong.base_url=http://x", ("endpoints", "strong", "base_url", "http://x"), ("simulate",)),
        ("input.messages=chat", ("input", "messages", "chat"), ("input", "prompt")),
    ],
)
def test_a_flag_replaces_what_it_cannot_stand_beside(
    tmp_path: Path, text: str, value: tuple[Any, ...], gone: tuple[str, ...]
) -> None:
    job = load(written(tmp_path), text).model_dump()
    section = job["endpoints"]["strong"] if value[0] == "endpoints" else job[value[0]]
    assert section[value[-2]] == value[-1]
    assert section[gone[-1]] is None


def test_flags_that_cannot_stand_together_are_a_fault(tmp_path: Path) -> None:
    [fault] = faults(written(tmp_path), "routing.threshold=0.25", "routing.budget_usd=3")
    assert fault.startswith("--set routing.budget_usd: cannot stand beside threshold")


@pytest.mark.parametrize("text", ["routing", "routing.=1", "name.x=1", "limits.drain_s=[1"])
def test_a_flag_that_cannot_be_read_is_a_fault(tmp_path: Path, text: str) -> None:
    [fault] = faults(written(tmp_path), text)
    assert fault.startswith("--set ")


def test_an_unknown_table_of_a_flag_is_the_flags_and_not_the_files(tmp_path: Path) -> None:
    [fault] = faults(written(tmp_path), "nosuch.key=1")
    assert fault.startswith("--set nosuch: unknown key")


def test_a_data_file_is_scored_without_a_job_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec, router = scoring_sections("a.jsonl", "question", ["router.model=./m", "router.batch_size=8"])
    assert (spec.path, spec.prompt) == ([f"{tmp_path}/a.jsonl"], "question")
    assert (router.model, router.batch_size) == (f"{tmp_path}/m", 8)
    assert scoring_sections("a.jsonl", None, [])[0].prompt == "prompt"
    assert scoring_sections("a.jsonl", None, ["input.messages=chat"])[0].prompt is None


def test_faults_without_a_job_file_come_at_once_and_name_the_flag() -> None:
    with pytest.raises(JobFault) as caught:
        scoring_sections(
            "a.jsonl",
            None,
            [
                "limits.drain_s=3",
                "router.batchsize=3",
                "router.use=MF",
                "router.embedder.use=column",
                "input.path.x=1",
            ],
        )
    assert [fault.partition(": ")[0] for fault in caught.value.faults] == [
        "--set input.path.x",
        "--set limits.drain_s",
        "--set router.embedder.column",
        "--set router.use",
        "--set router.batchsize",
    ]


def test_keys_are_asked_for_only_where_they_are_needed(tmp_path: Path) -> None:
    url = 'base_url = "https://api.openai.com/v1"\napi_key_env = "OUR_KEY"'
    path = written(tmp_path, SMALL.replace("simulate = {}", url, 1))
    assert load(path).endpoints.strong.api_key_env == "OUR_KEY"
    [fault] = faults(path, require_keys=True)
    assert fault.startswith(":10: endpoints.strong.api_key_env: OUR_KEY is not set; ")
    assert load(path, require_keys=True, environ={"OUR_KEY": CANARY})


def test_the_default_key_of_openais_embeddings_is_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, f'{SMALL}[router.embedder]\nuse = "openai"\n')
    [fault] = faults(path, require_keys=True)
    assert fault.startswith(":13: router.embedder.api_key_env: OPENAI_API_KEY is not set")


def test_a_resolved_job_has_no_secrets(tmp_path: Path) -> None:
    endpoint = f'''\
base_url = "https://example.com/v1?code={CANARY}&api-version=2"
headers = {{ "x-team" = "{CANARY}", "x-token" = {{ env = "TOKEN" }} }}'''
    text = resolved_toml(load(written(tmp_path, SMALL.replace("simulate = {}", endpoint, 1))))
    assert CANARY[:8] not in text
    again = load(written(tmp_path, text, "job.toml")).endpoints.strong
    assert again.base_url == f"https://example.com/v1?code={MASKED}&api-version={MASKED}"
    assert again.headers["x-team"] == MASKED


def test_a_resolved_job_reads_back_beside_the_runs_own_table(tmp_path: Path) -> None:
    job = load(written(tmp_path))
    (tmp_path / "run").mkdir()
    text = f"{resolved_toml(job)}\n[batchroute]\nformat = 1\n"
    assert load(written(tmp_path / "run", text, "job.toml")) == job


PARAMS = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(lambda key: f"x{key}"),
    st.recursive(
        st.text() | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@given(params=PARAMS, usd=st.decimals(min_value=0, max_value=10**6, places=6), system=st.text())
def test_any_job_survives_being_written_and_read(
    tmp_path_factory: pytest.TempPathFactory, params: dict[str, Any], usd: object, system: str
) -> None:
    folder = tmp_path_factory.mktemp("job")
    values = {
        "input": {"path": str(folder / "a"), "system": system},
        "output": {"path": str(folder / "run")},
        "routing": {"budget_usd": usd},
        "endpoints": {
            "strong": {"model": "m", "simulate": {}, "params": params},
            "weak": {"model": "m", "base_url": "http://x", "price": {"input": usd, "output": 0}},
        },
    }
    job = load(written(folder, tomli_w.dumps(values)))
    again = load(written(folder, resolved_toml(job), "job.toml"))
    assert again == job
    assert frozen_settings(again) == frozen_settings(job)


@pytest.mark.parametrize("name", ["demo", "openai-nightly", "dataset-generation", "local-pair", "openai-batch"])
def test_the_recipes_have_no_faults(name: str) -> None:
    variables = {"DATE": "2026-11-24", "DATA": "/data", "PROMPTS": "/data", "REQUESTS": "/data"}
    job = load_job(
        JOBS / f"{name}.toml", environ={"OPENAI_API_KEY": "key"}, variables=variables, require_keys=True
    )
    assert job.name == name


def test_the_demo_needs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = load(JOBS / "demo.toml", require_keys=True)
    assert job.input.path == [str(JOBS / "demo.jsonl")]
    assert job.output.path == str(JOBS.parent / "runs" / "demo")
