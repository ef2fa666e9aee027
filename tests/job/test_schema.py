"""The JSON schema of job files: whatever `load_job` takes is valid, wrong keys and kinds are not."""

from __future__ import annotations

import json
import tomllib
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w
from jsonschema import Draft202012Validator

import jobs
from batchroute.errors import JobFault
from batchroute.job.described import job_schema
from batchroute.job.load import load_job, resolved_toml

if TYPE_CHECKING:
    from collections.abc import Callable

    from command import Said

SCHEMA = job_schema()
RECIPES = sorted((Path(__file__).parents[2] / "jobs").glob("*.toml"))


def faults(values: Any) -> list[str]:
    return [fault.message for fault in Draft202012Validator(SCHEMA).iter_errors(values)]


def test_it_is_a_schema_and_what_the_command_prints(batchroute: Callable[..., Said]) -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(batchroute("schema").out) == SCHEMA


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid(path: Path) -> None:
    assert faults(tomllib.loads(path.read_text())) == []


# Changes to a valid job, and whether load_job takes it: the schema may not be stricter.
CASES: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"input.path": ["a.jsonl", "${DATE}/*.parquet"]}, True),
    ({"input.keep": "topic"}, True),
    ({"input.keep": ["topic", "*"]}, True),
    ({"endpoints.strong.price": {"input": 1, "output": 10.5, "tiers": {"flex": {"input": 0, "output": 1}}}}, True),
    ({"endpoints.weak.headers": {"x-a": "b", "x-c": {"env": "NAME"}}}, True),
    ({"endpoints.weak.params": {"anything": [1, {"at": "all"}], "max_tokens": 5}}, True),
    ({"endpoints.weak.on_finish": {"length": "other"}}, True),
    ({"limits.max_cost_usd": 5, **jobs.on_both("params", {"max_tokens": 5})}, True),
    ({"limits.max_cost_usd": 0.5, **jobs.on_both("params", {"max_tokens": 5})}, True),
    ({"limits.outage_s": 5}, True),
    (jobs.simulated(latency_s=1, busy={"flex": 0.5}), True),
    ({"batchroute": {"format": 2}}, True),
    ({"router.embedder": {"use": "openai"}}, True),
    ({"inptu": {"path": "x"}}, False),
    ({"input.promt": "x"}, False),
    ({"endpoints.strong.max_atempts": 3}, False),
    ({"endpoints.third": {"model": "x"}}, False),
    ({"endpoints.strong.api": "soap"}, False),
    ({"limits.max_cost_usd": "5"}, False),
    ({"limits.max_cost_usd": -1}, False),
    ({"endpoints.strong.max_concurrency": 0}, False),
    ({"endpoints.strong.max_concurrency": True}, False),
    ({"routing.threshold": None, "routing.strong_fraction": 1.5}, False),
    ({"input.path": ""}, False),
    ({"input.path": 5}, False),
    ({"endpoints.strong.model": None}, False),
    ({"output.raw": "yes"}, False),
    ({"endpoints.weak.headers": {"x": {"en": "NAME"}}}, False),
]


@pytest.mark.parametrize(("changes", "is_valid"), CASES)
def test_it_takes_what_a_job_file_may_hold_and_nothing_else(
    tmp_path: Path, changes: dict[str, Any], is_valid: bool
) -> None:
    path = jobs.write_job(tmp_path, deepcopy(changes))
    try:
        job = load_job(path, environ={}, variables={"DATE": "today"})
    except JobFault:
        job = None
    assert (job is not None) == is_valid
    assert (faults(tomllib.loads(path.read_text())) == []) == is_valid
    if job is not None:
        assert faults(tomllib.loads(resolved_toml(job))) == [], "nor is what a run directory keeps"


def test_editors_are_told_what_each_key_is() -> None:
    def bare(node: Any) -> list[str]:
        properties = node.get("properties", {}).items() if isinstance(node, dict) else ()
        return [name for name, field in properties if "description" not in field]

    assert [name for node in (SCHEMA, *SCHEMA["$defs"].values()) for name in bare(node)] == ["env"]
    assert '"null"' not in json.dumps(SCHEMA)
    assert tomli_w.dumps({"defaults": SCHEMA["$defs"]["Limits"]["properties"]["outage_s"]})
