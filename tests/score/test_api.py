"""Whole jobs whose prompts are scored by way of an embeddings API, counted at the server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from batchroute.score.api.cache import digest
from batchroute.simulate.behaviour import Behaviour
from batchroute.simulate.traffic import prompt_digest
from batchroute.store.embeddings import PaidRecord, read_bill
from batchroute.store.journal import read_records
from batchroute.store.layout import RunLayout
from checkpoints import routellm_checkpoint, routellm_scores
from command import Said, assert_one_message
from jobs import on_both, write_job
from servers import simulator_process, threaded_simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from batchroute.simulate.traffic import Stats
    from servers import ThreadedSimulator

    Command = Callable[..., Said]

EMBEDDINGS, CHAT = "POST /v1/embeddings", "POST /v1/chat/completions"
PER_TOKEN = 0.02e-6  # text-embedding-3-small
JOB = {
    "input.id": "id",
    "input.route": "route",
    "router": {"model": "mf.safetensors", "embedder": {"use": "openai", "max_concurrency": 8}},
    **on_both("params", {"max_tokens": 5}),
    **on_both("price", {"input": 0, "output": 0}),
    "limits.outage_s": 5,
}


@pytest.fixture
def provider() -> Iterator[ThreadedSimulator]:
    with threaded_simulator(Behaviour(response_tokens=5, count_prompts=True)) as simulator:
        yield simulator


@pytest.fixture
def folder(tmp_path: Path, provider: ThreadedSimulator) -> Path:
    """A job in the form of RouteLLM's checkpoint, waiting for its prompts."""
    write_job_at(tmp_path, provider.url)
    return tmp_path


def write_job_at(folder: Path, url: str, input_usd: float | None = 0.02) -> None:
    routellm_checkpoint(folder / "mf.safetensors")
    there = {"router.embedder.base_url": url, "router.embedder.price": input_usd and {"input": input_usd}}
    write_job(folder, JOB, on_both("base_url", url), there)


def write_prompts(folder: Path, texts: Sequence[str], **columns: Sequence[Any]) -> list[str]:
    rows = [{"prompt": text, "id": str(at), "route": None} for at, text in enumerate(texts)]
    rows = [row | {name: values[at] for name, values in columns.items()} for at, row in enumerate(rows)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(texts)


def some_texts(count: int) -> list[str]:
    return [f"{number}: " + "why is the sky blue? " * (number % 7) for number in range(count)]


# The last digits of a product depend on how many rows are multiplied at once, and where they lie in memory.
SAME = 1e-6


def scores_of(run: Path) -> list[float | None]:
    return pl.read_parquet(run / "scores" / "*.parquet").sort("row")["score"].to_list()


def results_of(run: Path) -> list[dict[str, Any]]:
    return pl.read_parquet(run / "results" / "*.parquet").sort("row").to_dicts()


def billed(stats: Stats, text: str) -> int:
    """Embeddings and completions of a text share a digest: a row that is answered counts once for each."""
    return stats.billed.get(prompt_digest(text), 0)


def test_a_routellm_checkpoint_scores_as_its_formula_says(
    folder: Path, provider: ThreadedSimulator, batchroute: Command
) -> None:
    texts = write_prompts(folder, [*some_texts(700), "", "a lone surrogate \ud83d", "ünïcödé 東京"])
    said = batchroute("run", folder / "job.toml", "--json")
    assert said.code == 0, said.err
    sent = [text.replace("\ud83d", "\ufffd") for text in texts]
    np.testing.assert_allclose(
        scores_of(folder / "run"), routellm_scores(folder / "mf.safetensors", sent), atol=1e-5
    )
    report, stats = json.loads(said.out), provider.stats()
    assert scores_of(folder / "run")[700] == 0.5
    assert "1 empty and scored as a zero vector" in said.err
    assert stats.by_route[EMBEDDINGS] <= 3
    assert {billed(stats, text) for text in texts[:700]} == {2}, "one vector, one answer"
    tokens = sum(max(1, int(len(text) / 4)) for text in sent if text)
    assert report["router_cost_usd"] == pytest.approx(tokens * PER_TOKEN, rel=1e-9)
    assert report["total_usd"] == pytest.approx(report["cost_usd"] + report["router_cost_usd"])


@pytest.mark.parametrize("base64_vectors", ["ignored", "refused"])
def test_servers_without_base64_give_the_same_scores(
    folder: Path, provider: ThreadedSimulator, batchroute: Command, base64_vectors: str
) -> None:
    write_prompts(folder, some_texts(50))
    assert batchroute("plan", folder / "job.toml", "--quiet").code == 0
    packed = scores_of(folder / "run")
    provider.control({"base64_vectors": base64_vectors}, reset=True)
    assert batchroute("plan", folder / "job.toml", "--quiet", "--output", folder / "other").code == 0
    assert scores_of(folder / "other") == pytest.approx(packed, abs=SAME)
    assert provider.stats().requests == (2 if base64_vectors == "refused" else 1)


def test_a_trip_through_limits_and_faults_pays_for_each_vector_once(
    folder: Path, provider: ThreadedSimulator, batchroute: Command
) -> None:
    texts = write_prompts(folder, some_texts(3000))
    provider.control({"error_rate": 0.2, "rate_limit_rate": 0.2, "retry_after_s": 0.05})
    few = ("--set", "router.embedder.max_concurrency=64", "--set", "router.embedder.max_attempts=20")
    said = batchroute("plan", folder / "job.toml", "--quiet", *few)
    assert said.code == 0, said.err
    stats = provider.stats()
    assert stats.by_status["200"] == stats.requests - stats.by_status["500"] - stats.by_status["429"]
    assert {billed(stats, text) for text in texts} == {1}
    expected = routellm_scores(folder / "mf.safetensors", texts[:50])
    np.testing.assert_allclose(scores_of(folder / "run")[:50], expected, atol=1e-5)


def test_a_plan_pays_for_the_run_that_follows(
    folder: Path, provider: ThreadedSimulator, batchroute: Command
) -> None:
    texts = write_prompts(folder, some_texts(300))
    assert batchroute("plan", folder / "job.toml", "--quiet").code == 0
    asked = provider.stats().by_route[EMBEDDINGS]
    said = batchroute("run", folder / "job.toml", "--json")
    assert said.code == 0
    assert provider.stats().by_route[EMBEDDINGS] == asked
    tokens = sum(max(1, int(len(text) / 4)) for text in texts)
    assert json.loads(said.out)["router_cost_usd"] == pytest.approx(tokens * PER_TOKEN, rel=1e-9)


def test_a_killed_run_pays_again_only_for_what_was_in_flight(tmp_path: Path, batchroute: Command) -> None:
    with simulator_process(Behaviour(latency_s=0.05, jitter_s=0.3, count_prompts=True)) as provider:
        write_job_at(tmp_path, provider.url)
        texts = write_prompts(tmp_path, some_texts(6000))
        arguments = ["plan", str(tmp_path / "job.toml"), "--quiet", "--set", "router.embedder.max_concurrency=64"]
        code = "import sys; from batchroute.cli import main; main(sys.argv[1:])"
        with subprocess.Popen([sys.executable, "-c", code, *arguments]) as running:
            journal = RunLayout(tmp_path / "run").paid
            while not journal.exists() or journal.stat().st_size < 40_000:
                assert running.poll() is None, "it ended before it could be killed"
                time.sleep(0.005)
            running.send_signal(signal.SIGKILL)
        records = list(read_records(journal, PaidRecord))
        on_file = {record.digests[at : at + 16] for record in records for at in range(0, len(record.digests), 16)}
        said = batchroute(*arguments)
        assert said.code == 0, said.err
        stats = provider.stats()
    kept = [text for text in texts if digest(text) in on_file]
    assert len(kept) == len(on_file) > 1000
    assert {billed(stats, text) for text in kept} == {1}, "what was on file was not asked for again"
    assert {billed(stats, text) for text in texts} <= {1, 2}
    np.testing.assert_allclose(
        scores_of(tmp_path / "run")[::100], routellm_scores(tmp_path / "mf.safetensors", texts[::100]), atol=1e-5
    )


def test_an_interrupted_run_drains_and_goes_on(tmp_path: Path, batchroute: Command) -> None:
    with simulator_process(Behaviour(latency_s=0.2, count_prompts=True, response_tokens=5)) as provider:
        write_job_at(tmp_path, provider.url)
        texts = write_prompts(tmp_path, some_texts(1000))
        arguments = ["run", str(tmp_path / "job.toml"), "--quiet", "--set", "routing.strong_fraction=0.5"]
        arguments += [
            "--set",
            "router.embedder.max_concurrency=2",
            "--set",
            "router.embedder.requests_per_minute=3000",
        ]
        code = "import sys; from batchroute.cli import main; main(sys.argv[1:])"
        with subprocess.Popen([sys.executable, "-c", code, *arguments]) as running:
            while provider.stats().requests == 0:
                time.sleep(0.01)
            running.send_signal(signal.SIGINT)
            assert running.wait(20) == 130
        assert CHAT not in provider.stats().by_route
        provider.control({"latency_s": 0.0})
        assert batchroute(*arguments).code == 0
        stats = provider.stats()
        assert {billed(stats, text) for text in texts} == {2}, "one vector, one answer"


def test_an_embedder_that_is_away_for_a_while_is_waited_for(
    folder: Path, provider: ThreadedSimulator, batchroute: Command
) -> None:
    texts = write_prompts(folder, some_texts(3000))
    provider.control({"down": True})
    back = threading.Timer(1.5, provider.control, [{"down": False}])
    back.start()
    said = batchroute("plan", folder / "job.toml", "--quiet", "--set", "router.embedder.max_concurrency=64")
    back.join()
    assert said.code == 0, said.err
    stats = provider.stats()
    assert {billed(stats, text) for text in texts} == {1}


def test_what_is_scored_is_answered_though_the_embedder_stops(
    folder: Path, provider: ThreadedSimulator, batchroute: Command
) -> None:
    texts = some_texts(6000)
    texts[5000] = "[[fault:insufficient_quota:1]]"
    write_prompts(folder, texts)
    said = batchroute("run", folder / "job.toml", "--json", "--set", "router.embedder.max_concurrency=2")
    report = json.loads(said.out)
    assert said.code == 4
    assert said.err.count("warning: the embedder stopped: quota or credit used up (HTTP 429") == 1
    assert report["ok"] == 4096, "the first chunk"
    assert batchroute("run", folder / "job.toml", "--quiet").code == 4, (
        "now the lane meets the text for the first time"
    )
    assert batchroute("run", folder / "job.toml", "--quiet").code == 0
    stats = provider.stats()
    assert {billed(stats, text) for at, text in enumerate(texts) if at != 5000} == {2}


def test_vectors_are_shared_by_way_of_a_cache(
    folder: Path, provider: ThreadedSimulator, batchroute: Command
) -> None:
    write_prompts(folder, some_texts(300))
    cache = ("--set", f"router.embedder.cache='{folder / 'vectors'}'")
    assert batchroute("plan", folder / "job.toml", "--quiet", *cache).code == 0
    asked = provider.stats().requests
    write_prompts(folder, [*some_texts(300), "one more"])
    out = folder / "scores.parquet"
    assert batchroute("score", folder / "job.toml", "-o", out, "--quiet", *cache).code == 0
    assert provider.stats().requests == asked + 1
    assert pl.read_parquet(out)["score"].to_list()[:300] == pytest.approx(scores_of(folder / "run"), abs=SAME)
    found = batchroute("calibrate", folder / "job.toml", "--strong-fraction", "0.5", "--json", *cache)
    assert json.loads(found.out)["strong_rows"] in {150, 151}
    assert provider.stats().requests == asked + 1


def test_a_text_that_is_refused_costs_nobody_else(
    folder: Path, provider: ThreadedSimulator, batchroute: Command
) -> None:
    texts = some_texts(300)
    bad = {17: "[[fault:400]]", 203: "[[fault:content_filter]]", 250: "[[fault:500]]", 251: "[[fault:vector_nan]]"}
    texts = write_prompts(folder, [bad.get(at, text) for at, text in enumerate(texts)])
    quick = ("--set", "router.embedder.max_attempts=1")
    said = batchroute("plan", folder / "job.toml", "--quiet", *quick)
    assert said.code == 0, said.err
    assert "4 refused by the embedder" in said.err
    scores = scores_of(folder / "run")
    assert [at for at, score in enumerate(scores) if score is None] == sorted(bad)
    provider.control({}, reset=True)
    said = batchroute("run", folder / "job.toml", "--json", *quick)
    report, rows = json.loads(said.out), results_of(folder / "run")
    assert (said.code, report["ok"], report["refused"]) == (3, 296, 4)
    for at, words in {17: "HTTP 400", 203: "content_filter", 250: "HTTP 500", 251: "NaN"}.items():
        assert rows[at]["status"] == "refused"
        assert rows[at]["attempts"] == 0
        assert rows[at]["route"] is None
        assert "the embedder refused it" in rows[at]["error"]
        assert words in rows[at]["error"]
    assert provider.stats().requests == 296


def test_a_row_that_demands_a_side_needs_no_vector(
    folder: Path, provider: ThreadedSimulator, batchroute: Command
) -> None:
    write_prompts(folder, ["fine", "[[fault:vector_nan]]"], route=[None, "strong"])
    said = batchroute("run", folder / "job.toml", "--quiet", "--set", 'input.route="route"')
    rows = results_of(folder / "run")
    assert said.code == 0, said.err
    assert (rows[1]["status"], rows[1]["route"], rows[1]["route_reason"]) == ("ok", "strong", "override")


def test_over_long_texts_are_cut_until_they_fit(
    folder: Path, provider: ThreadedSimulator, batchroute: Command
) -> None:
    texts = ["short", "a" * 40_000, "b" * 30_000, "c" * 9_000]
    write_prompts(folder, texts)
    provider.control({"characters_per_token": 2.0})
    said = batchroute("plan", folder / "job.toml", "--quiet")
    assert said.code == 0, said.err
    assert "2 cut to the longest input of the model" in said.err
    asked = provider.stats().billed
    assert [asked.get(prompt_digest(text)) for text in (texts[0], texts[3])] == [1, 1]
    assert None not in scores_of(folder / "run")


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"api_key": "another"}, "check the key"),
        ({"faults": {"model_not_found": 1.0}}, "check base_url and model"),
        ({"faults": {"insufficient_quota": 1.0}}, "top up the account"),
        ({"faults": {"400": 1.0}}, "fix [router.embedder]"),
        ({"faults": {"html": 1.0}}, "fix [router.embedder]"),
    ],
    ids=["key", "model", "quota", "parameter", "no API at all"],
)
def test_an_embedder_that_will_not_do_stops_the_run_and_sends_nothing(
    folder: Path, provider: ThreadedSimulator, batchroute: Command, knobs: dict[str, Any], words: str
) -> None:
    write_prompts(folder, some_texts(200))
    provider.control(knobs)
    share = ("--set", "routing.strong_fraction=0.1")
    said = batchroute("run", folder / "job.toml", "--json", *share)
    assert said.code == 4
    assert "the embedder stopped" in said.err
    assert words in said.err
    assert CHAT not in provider.stats().by_route
    assert scores_of(folder / "run") == [] if list((folder / "run" / "scores").iterdir()) else True
    assert_one_message(batchroute("plan", folder / "job.toml", "--quiet", *share), 4, words)
    provider.control({"api_key": None, "faults": {}})
    assert batchroute("run", folder / "job.toml", "--quiet", *share).code == 0


def test_vectors_of_another_length_are_a_wrong_model(
    folder: Path, provider: ThreadedSimulator, batchroute: Command
) -> None:
    write_prompts(folder, some_texts(20))
    small = ("--set", "router.embedder.dimensions=512")
    assert_one_message(batchroute("plan", folder / "job.toml", "--quiet", *small), 2, "1536 numbers")
    assert provider.stats().requests == 0, "a length that is known is refused before anything is sent"
    routellm_checkpoint(folder / "mf.safetensors", 768)
    other = ("--set", "router.embedder.model='mine'", "--output", folder / "other")
    said = batchroute("plan", folder / "job.toml", "--quiet", *other)
    assert_one_message(said, 2, "768 numbers", "gave 1536", "[router.embedder]")


def test_a_hard_limit_on_money_holds_for_vectors(
    folder: Path, provider: ThreadedSimulator, batchroute: Command
) -> None:
    texts = write_prompts(folder, some_texts(2000))
    expensive = ("--set", "router.embedder.price.input=1000", "--set", "router.embedder.max_concurrency=64")
    said = batchroute("plan", folder / "job.toml", "--quiet", *expensive, "--set", "limits.max_cost_usd=20")
    assert_one_message(said, 4, "limits.max_cost_usd")
    assert 0 < provider.stats().prompt_tokens * 1e-3 <= 20
    again = batchroute("run", folder / "job.toml", "--json", *expensive, "--set", "limits.max_cost_usd=1000")
    assert json.loads(again.out)["state"] == "complete"
    total = sum(max(1, int(len(text) / 4)) for text in texts)
    assert json.loads(again.out)["router_cost_usd"] == pytest.approx(total * 1e-3, rel=1e-9)


def test_a_limit_on_money_needs_a_price(folder: Path, provider: ThreadedSimulator, batchroute: Command) -> None:
    write_job_at(folder, provider.url, input_usd=None)
    write_prompts(folder, ["x"])
    unpriced = ("--set", "limits.max_cost_usd=1")
    assert_one_message(batchroute("run", folder / "job.toml", "--quiet", *unpriced), 2, "router.embedder.price")
    assert_one_message(
        batchroute("calibrate", folder / "job.toml", "--strong-fraction", "0.5", *unpriced),
        2,
        "router.embedder.price",
    )


def test_a_cost_that_nobody_knows_is_null(folder: Path, provider: ThreadedSimulator, batchroute: Command) -> None:
    write_job_at(folder, provider.url, input_usd=None)
    write_prompts(folder, ["x"])
    report = json.loads(batchroute("run", folder / "job.toml", "--json").out)
    assert (report["router_cost_usd"], report["total_usd"], report["savings_usd"]) == (None, None, None)


def test_what_a_directory_paid_for_stays_paid(
    folder: Path, provider: ThreadedSimulator, batchroute: Command
) -> None:
    write_prompts(folder, some_texts(40))
    assert batchroute("plan", folder / "job.toml", "--quiet").code == 0
    paid = read_bill(RunLayout(folder / "run")).usd
    other = ("--set", "router.weak='zephyr-7b-beta'")
    assert batchroute("plan", folder / "job.toml", "--quiet", *other).code == 0
    assert provider.stats().by_route[EMBEDDINGS] == 2, "the scores were another model's"
    assert read_bill(RunLayout(folder / "run")).usd == 2 * paid


def test_lines_of_stdin_are_scored_in_batches(
    folder: Path, provider: ThreadedSimulator, batchroute: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    texts = ["first", "second", "third"]
    (tmp_path / "lines").write_text("\n".join(texts) + "\n")
    settings = {"router.model": f"'{folder / 'mf.safetensors'}'", "router.embedder.use": "'openai'"}
    settings |= {"router.embedder.base_url": f"'{provider.url}'"}
    with (tmp_path / "lines").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        said = batchroute("score", "-", *(f"--set={key}={value}" for key, value in settings.items()))
    assert said.code == 0, said.err
    printed = [line.split("\t") for line in said.out.splitlines()]
    assert [text for _, text in printed] == texts
    expected = routellm_scores(folder / "mf.safetensors", texts)
    np.testing.assert_allclose([float(score) for score, _ in printed], expected, atol=1e-5)
    assert provider.stats().requests == 1


def test_check_looks_at_the_embedder_and_asks_it_nothing(
    folder: Path, provider: ThreadedSimulator, batchroute: Command
) -> None:
    write_prompts(folder, ["x"])
    said = batchroute("check", folder / "job.toml")
    assert said.code == 0
    assert "embedder: text-embedding-3-small" in said.out
    assert "0.02 input" in said.out
    assert provider.stats().requests == 0
