from __future__ import annotations

import re
import stat
import tomllib
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from batchroute.errors import RunFault
from batchroute.input.file import Fingerprint
from batchroute.job.settings import frozen_settings, settings
from batchroute.run.open import open_input
from batchroute.store.identity import Identity, find_identity, identity_of, merge, read_identity, write_identity
from batchroute.store.layout import RunLayout
from batchroute.store.tally import Tally
from inputs import lines
from jobs import job_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batchroute.job.spec import Job

FILES = [Fingerprint("a.jsonl", 10, "00", "00")]
URL = "http://127.0.0.1:9/v1"
COLUMN = {"router.embedder.use": "column", "router.embedder.column": "vector"}
OPENAI = {"router.embedder.use": "openai"}
BOUNDED = {f"endpoints.{side}.params": {"max_tokens": 9} for side in ("strong", "weak")}
PILOT: dict[str, Any] = {
    "pilot.judge": "rubric",
    "pilot.endpoint.model": "judge",
    "pilot.endpoint.base_url": URL,
    "routing.threshold": None,
    "routing.quality": 0.95,
}
JUDGE = {
    "pilot.endpoint.api_key_env": "KEY",
    "pilot.endpoint.price.input": 1.0,
    "pilot.endpoint.price.output": 5.0,
}
BY_REFERENCE = {"pilot.judge": "reference", "pilot.reference": "answer"}
CHECKED = {"pilot.judge": "check", "check.regex": "^yes"}
Changes: TypeAlias = dict[str, tuple[dict[str, Any], dict[str, Any]]]

FLEX = {"input": 1.0, "cached_input": 0.5, "output": 5.0}
LANE_FROZEN: dict[str, dict[str, Any]] = {
    "model": {"model": "another"},
    "params": {"params": {"max_tokens": 5}},
    "simulate": {"simulate": {"latency_s": 0.5}, "base_url": None},
}
LANE_FREE: dict[str, dict[str, Any]] = {
    "base_url": {"base_url": [URL, "http://127.0.0.1:10/v1"]},
    "per_address": {"per_address": True},
    "api_key_env": {"api_key_env": "OTHER_KEY"},
    "api_key_header": {"api_key_header": "api-key"},
    "requests_per_minute": {"requests_per_minute": 5},
    "tokens_per_minute": {"tokens_per_minute": 5},
    "max_concurrency": {"max_concurrency": 5},
    "timeout_s": {"timeout_s": 5.0},
    "max_attempts": {"max_attempts": 5},
    "max_input_tokens": {"max_input_tokens": 5},
    "on_too_long": {"max_input_tokens": 5, "on_too_long": "other"},
    "service_tier": {"service_tier": "flex"},
    "on_busy": {"on_busy": "standard"},
    "headers": {"headers": {"x-team": "data"}},
    "price.input": {"price.input": 9.0},
    "price.cached_input": {"price.cached_input": 1.0},
    "price.output": {"price.output": 9.0},
    "price.cache_write": {"price.cache_write": 9.0},
    "price.tiers": {"price.tiers": {"flex": FLEX}},
    **{f"price.tiers.*.{name}": {"price.tiers": {"flex": FLEX | {name: 0.75}}} for name in (*FLEX, "cache_write")},
    "api": {"api": "responses"},
    "api_key_command": {"api_key_env": None, "api_key_command": "print-the-key"},
    "max_media_tokens": {"max_media_tokens": 5},
    **{
        f"on_finish.{finish}": {f"on_finish.{finish}": "other"}
        for finish in ("length", "content_filter", "refusal")
    },
}
EMBEDDER_FREE: dict[str, Any] = {
    "base_url": URL,
    "api_key_env": "OTHER_KEY",
    "api_key_header": "api-key",
    "api_key_command": "print-the-key",
    "cache": "/vectors",
    "requests_per_minute": 5,
    "tokens_per_minute": 5,
    "max_concurrency": 5,
    "timeout_s": 5.0,
    "max_attempts": 5,
}


def on_both_sides(table: dict[str, dict[str, Any]], before: dict[str, Any]) -> Changes:
    return {
        f"endpoints.{side}.{key}": (
            {f"endpoints.{side}.{name}": value for name, value in before.items()},
            {f"endpoints.{side}.{name}": value for name, value in change.items()},
        )
        for side in ("strong", "weak")
        for key, change in table.items()
    }


def of_judge(table: dict[str, dict[str, Any]]) -> Changes:
    return {
        f"pilot.endpoint.{key}": (
            {**PILOT, **JUDGE},
            {f"pilot.endpoint.{name}": value for name, value in change.items()},
        )
        for key, change in table.items()
    }


# What SPEC 7 freezes: the job before, and what is changed in it.
FROZEN: Changes = {
    "input.format": ({}, {"input.format": "jsonl"}),
    "input.prompt": ({}, {"input.prompt": "text"}),
    "input.messages": ({}, {"input.messages": "messages"}),
    "input.template": ({}, {"input.template": "{{ a }}"}),
    "input.system": ({}, {"input.system": "You are terse."}),
    "input.id": ({}, {"input.id": "id"}),
    "input.keep": ({}, {"input.keep": ["topic"]}),
    "input.params": ({}, {"input.params": "params"}),
    "input.reuse": ({}, {"input.reuse": ["runs/old"]}),
    "input.route": ({}, {"input.route": "route"}),
    "output.raw": ({}, {"output.raw": True}),
    "router.use": ({}, {"router.use": "random"}),
    "router.model": ({}, {"router.model": "/models/mine"}),
    "router.strong": ({}, {"router.strong": "claude-1"}),
    "router.weak": ({}, {"router.weak": "zephyr-7b-beta"}),
    "router.text": ({}, {"router.text": "question"}),
    "router.seed": ({}, {"router.seed": 1}),
    "router.embedder.use": ({}, OPENAI),
    "router.embedder.model": (OPENAI, {"router.embedder.model": "text-embedding-3-large"}),
    "router.embedder.dimensions": (OPENAI, {"router.embedder.dimensions": 256}),
    "router.embedder.column": (COLUMN, {"router.embedder.column": "other"}),
    "routing.strong_fraction": ({}, {"routing.threshold": None, "routing.strong_fraction": 0.5}),
    "routing.threshold": ({}, {"routing.threshold": 0.25}),
    "routing.budget_usd": ({}, {"routing.threshold": None, "routing.budget_usd": 5}),
    "routing.quality": (PILOT, {"routing.quality": 0.9}),
    "routing.confidence": (PILOT, {"routing.confidence": 0.8}),
    "pilot.rows": (PILOT, {"pilot.rows": "auto"}),
    "pilot.seed": (PILOT, {"pilot.seed": 1}),
    "pilot.judge": (PILOT, {"pilot.judge": "pairwise"}),
    "pilot.reference": (BY_REFERENCE, {"pilot.reference": "right"}),
    "pilot.match": (BY_REFERENCE, {"pilot.match": "f1"}),
    "pilot.criteria": (PILOT, {"pilot.criteria": "Short."}),
    "pilot.reuse": (PILOT, {"pilot.reuse": "/runs/yesterday"}),
    "pilot.learn": (PILOT, {"pilot.learn": False}),
    "check.schema": (CHECKED, {"check.schema": {"type": "object"}}),
    "check.regex": (CHECKED, {"check.regex": "^no"}),
    "check.function": (CHECKED, {"check.function": "checks:is_good"}),
    "check.strip": (CHECKED, {"check.strip": False}),
    **on_both_sides(LANE_FROZEN, {}),
    **of_judge(LANE_FROZEN),
}
FREE: Changes = {
    "name": ({}, {"name": "weekly"}),
    "input.min_rows": ({}, {"input.min_rows": 7}),
    "output.path": ({}, {"output.path": "/elsewhere"}),
    "output.mode": ({}, {"output.mode": "0750"}),
    "router.device": ({}, {"router.device": "cpu"}),
    "router.batch_size": ({}, {"router.batch_size": 7}),
    "limits.max_cost_usd": (BOUNDED, {"limits.max_cost_usd": 5}),
    "limits.on_budget": (BOUNDED, {"limits.max_cost_usd": 5, "limits.on_budget": "downgrade"}),
    "limits.stop_at": ({}, {"limits.stop_at": "06:00"}),
    "limits.max_wall_s": ({}, {"limits.max_wall_s": 5.0}),
    "limits.outage_s": ({}, {"limits.outage_s": 5.0}),
    "limits.stop_after_same_refusal": ({}, {"limits.stop_after_same_refusal": 0}),
    "limits.ok_if_refused": ({}, {"limits.ok_if_refused": 0.5}),
    "limits.max_response_mb": ({}, {"limits.max_response_mb": 1.0}),
    "limits.on_unproven": (PILOT, {"limits.on_unproven": "stop"}),
    "pilot.max_rows": (PILOT, {"pilot.max_rows": 800}),
    "pilot.watch": (PILOT, {"pilot.watch": 0.01}),
    "limits.drain_s": ({}, {"limits.drain_s": 1.0}),
    "notify.command": ({}, {"notify.command": ["mail", "-s", "done"]}),
    "engine.use": ({}, {"engine.use": "processes"}),
    "engine.address": ({}, {"engine.address": "10.0.0.7:6379"}),
    "engine.workers": ({}, {"engine.workers": 8}),
    "engine.cpus": ({}, {"engine.cpus": 0.5}),
    "engine.memory_mb": ({}, {"engine.memory_mb": 1024}),
    "engine.gpus": ({}, {"engine.gpus": 0}),
    "engine.scorers": ({}, {"engine.scorers": 2}),
    "engine.lease_s": ({}, {"engine.lease_s": 5}),
    "engine.shard_mb": ({}, {"engine.shard_mb": 8.0}),
    "router.embedder.price.input": (OPENAI, {"router.embedder.price": {"input": 0.5}}),
    **{
        f"router.embedder.{key}": (OPENAI, {f"router.embedder.{key}": value})
        for key, value in EMBEDDER_FREE.items()
    },
    **on_both_sides(LANE_FREE, {"api_key_env": "KEY"}),
    **of_judge(LANE_FREE),
}
ANSWERED = Tally(ok=Counter(strong=1, weak=1))
UNANSWERED = Tally(refused=3)


def asked_for(changes: Mapping[str, Any], tmp_path: Path, files: list[Fingerprint] = FILES) -> Identity:
    return identity_of(job(changes, tmp_path), files)


def job(changes: Mapping[str, Any], tmp_path: Path) -> Job:
    return job_of(tmp_path / "a.jsonl", tmp_path / "run", changes)


def kept(identity: Identity, tmp_path: Path) -> Identity:
    """What a directory says after it was held to an identity."""
    (tmp_path / "run").mkdir(exist_ok=True)
    write_identity(RunLayout(tmp_path / "run"), identity)
    return read_identity(RunLayout(tmp_path / "run"))


def test_the_table_below_has_every_frozen_setting(tmp_path: Path) -> None:
    judged, checked = frozen_settings(job(PILOT, tmp_path)), frozen_settings(job(CHECKED, tmp_path))
    assert FROZEN.keys() == judged.keys() | checked.keys()


PRICES = {
    f"{place}.price" for place in ("endpoints.strong", "endpoints.weak", "pilot.endpoint", "router.embedder")
}


def test_the_table_below_has_every_free_setting() -> None:
    names = {".".join(map(str, loc)): info.json_schema_extra for loc, info in settings()}
    free = {name for name, extra in names.items() if (extra or {}).get("resume") is True}
    assert FREE.keys() == free - PRICES - {"pilot.endpoint"}


@pytest.mark.parametrize("key", FROZEN)
def test_a_frozen_setting_is_refused_by_its_name_once_a_row_is_answered(key: str, tmp_path: Path) -> None:
    before, change = FROZEN[key]
    old = kept(asked_for(before, tmp_path), tmp_path)
    new = asked_for({**before, **change}, tmp_path)
    with pytest.raises(
        RunFault, match=rf"{re.escape(key)}\b.* changed; put that back, or use another output\.path"
    ):
        merge(old, new, ANSWERED)


@pytest.mark.parametrize("key", [key for key in FROZEN if not key.startswith("routing.")])
def test_a_frozen_setting_is_refused_once_a_row_of_the_pilot_is_answered(key: str, tmp_path: Path) -> None:
    before, change = FROZEN[key]
    old = kept(asked_for(before, tmp_path), tmp_path)
    new = asked_for({**before, **change}, tmp_path)
    with pytest.raises(RunFault, match=rf"{re.escape(key)}\b.* changed; put that back"):
        merge(old, new, UNANSWERED, has_pilot_answers=True)


def test_what_is_to_be_kept_of_the_quality_may_be_said_when_the_pilot_is_graded(tmp_path: Path) -> None:
    old = kept(asked_for(PILOT, tmp_path), tmp_path)
    new = asked_for({**PILOT, "routing.quality": 0.9}, tmp_path)
    assert merge(old, new, UNANSWERED, has_pilot_answers=True) == (new, False)


@pytest.mark.parametrize("key", FREE)
def test_a_free_setting_may_change_at_any_time(key: str, tmp_path: Path) -> None:
    before, change = FREE[key]
    old = kept(asked_for(before, tmp_path), tmp_path)
    new = asked_for({**before, **change}, tmp_path)
    assert new.job != old.job
    merged, void = merge(old, new, ANSWERED)
    assert not void
    assert merged.job == new.job


@pytest.mark.parametrize("key", [key for key in FROZEN if key.startswith("endpoints.")])
def test_what_a_lane_asks_is_frozen_by_its_own_first_answer(key: str, tmp_path: Path) -> None:
    before, change = FROZEN[key]
    old = kept(asked_for(before, tmp_path), tmp_path)
    new = asked_for({**before, **change}, tmp_path)
    strong = key.startswith("endpoints.strong")
    others = Tally(refused=5, ok=Counter({"weak" if strong else "strong": 9}))
    assert merge(old, new, others) == (new, False)


@pytest.mark.parametrize(
    "files",
    [
        [Fingerprint("b.jsonl", 10, "00", "00")],
        [Fingerprint("a.jsonl", 11, "00", "00")],
        [Fingerprint("a.jsonl", 10, "01", "00")],
        [Fingerprint("a.jsonl", 10, "00", "01")],
        [*FILES, Fingerprint("b.jsonl", 10, "00", "00")],
        [],
    ],
)
def test_another_list_of_files_is_another_input(files: list[Fingerprint], tmp_path: Path) -> None:
    old, new = kept(asked_for({}, tmp_path), tmp_path), asked_for({}, tmp_path, files)
    with pytest.raises(RunFault, match=r"input\.path changed"):
        merge(old, new, ANSWERED)
    assert merge(old, new, UNANSWERED) == (new, True)


def test_the_same_files_elsewhere_with_another_time_are_the_same_input(tmp_path: Path) -> None:
    identities = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        path = lines(tmp_path / place / "a.jsonl", {"prompt": "hi"})
        moved = job_of(path, tmp_path / "run")
        identities.append(identity_of(moved, open_input(moved.input, moved.router, None).fingerprint()))
    assert identities[0].frozen == identities[1].frozen
    assert merge(kept(identities[0], tmp_path), identities[1], ANSWERED)[1] is False


def test_every_changed_setting_is_named_at_once(tmp_path: Path) -> None:
    old = kept(asked_for({}, tmp_path), tmp_path)
    new = asked_for({"input.system": "x", "router.seed": 4, "endpoints.weak.model": "m", "name": "free"}, tmp_path)
    with pytest.raises(RunFault, match=r": input\.system, router\.seed, endpoints\.weak\.model changed"):
        merge(old, new, ANSWERED)


VOIDING = [key for key in FROZEN if key.startswith(("input.", "router.", "output."))]


@pytest.mark.parametrize("key", FROZEN)
def test_before_the_first_answer_only_what_scores_and_columns_rest_on_voids_the_rest(
    key: str, tmp_path: Path
) -> None:
    """A part without the column `raw` beside one that has it would make the results unreadable as one."""
    before, change = FROZEN[key]
    old = kept(asked_for(before, tmp_path), tmp_path)
    merged, void = merge(old, asked_for({**before, **change}, tmp_path), UNANSWERED)
    assert void == (key in VOIDING)
    assert merged.frozen == asked_for({**before, **change}, tmp_path).frozen


def test_what_is_known_of_the_scores_outlives_a_resume_but_no_other_routing(tmp_path: Path) -> None:
    old = Identity(asked_for({}, tmp_path).job, asked_for({}, tmp_path).frozen, "length", 0.1 + 0.2, 42)
    again = kept(old, tmp_path)
    assert (again.scorer, again.threshold, again.rows) == ("length", 0.1 + 0.2, 42)
    merged, _ = merge(again, asked_for({"name": "weekly"}, tmp_path), ANSWERED)
    assert (merged.scorer, merged.threshold, merged.rows) == ("length", 0.1 + 0.2, 42)
    merged, _ = merge(again, asked_for({"routing.threshold": 0.75}, tmp_path), UNANSWERED)
    assert (merged.scorer, merged.threshold, merged.rows) == ("length", None, 42)


@pytest.mark.parametrize("threshold", [0.0, 0.24034, 1.0000000000000002, float("inf"), 5e-324])
def test_a_threshold_comes_back_to_the_last_bit(threshold: float, tmp_path: Path) -> None:
    identity = asked_for({}, tmp_path)
    again = kept(Identity(identity.job, identity.frozen, threshold=threshold), tmp_path)
    assert again.threshold == threshold


def test_job_toml_is_the_job_and_one_table_of_ours_without_secrets(tmp_path: Path) -> None:
    secret = {
        "endpoints.strong.base_url": f"{URL}?key=canary-1234",
        "endpoints.strong.headers": {"x-key": "canary-5"},
    }
    kept(asked_for(secret, tmp_path), tmp_path)
    path = tmp_path / "run" / "job.toml"
    written = tomllib.loads(path.read_text())
    assert written["batchroute"].keys() >= {"format", "fingerprint", "version", "files"}
    assert written["routing"] == {"threshold": 0.5, "confidence": 0.9}
    assert "canary" not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["job.toml"]


def test_a_new_directory_has_no_identity_and_takes_any(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    assert find_identity(RunLayout(tmp_path)) is None
    new = asked_for({}, tmp_path)
    assert merge(None, new, Tally()) == (new, False)


def test_a_first_job_toml_that_a_crash_cut_off_leaves_the_directory_new(tmp_path: Path) -> None:
    (tmp_path / ".job.toml.unfinished").write_text("[inp")
    assert find_identity(RunLayout(tmp_path)) is None


def test_a_directory_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunFault, match=r"holds thesis\.tex, but no run"):
        find_identity(RunLayout(tmp_path))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not as a run wrote it"),
        ("[batchroute]\n", "not as a run wrote it"),
        ("no toml", "not as a run wrote it"),
        (
            '[batchroute]\nformat = 3\nversion = "9.1"\n',
            r"was written by batchroute 9\.1 in format 3, this version reads up to 2; go on with that version",
        ),
        ('[batchroute]\nformat = 1\nfrozen = "{"\n', "not as a run wrote it"),
        ("[batchroute]\nformat = 1\nfrozen = 5\n", "not as a run wrote it"),
        (b"\xff".decode("latin-1"), "not as a run wrote it"),
    ],
)
def test_a_job_toml_that_no_run_of_this_format_wrote_is_not_guessed_at(
    text: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "job.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(RunFault, match=words):
        read_identity(RunLayout(tmp_path))
