"""Batches through the official client: upload, run, poll, fetch; cancelled, killed, and continued."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.run.end import RunEnd
from batchroute.serve.batch import queue as queue_module
from batchroute.serve.batch.batches import BatchStore, Counts, wake_worker, woken
from batchroute.serve.batch.files import ApiError, FileStore, checked_id, new_id
from batchroute.serve.batch.lines import ALL_WEAK, batch_job, read_batch_input
from batchroute.serve.batch.queue import BatchQueue
from batchroute.serve.batch.shares import Lease
from batchroute.serve.batch.worker import ending_of, run_batch
from batchroute.serve.chat import ModelNames
from batchroute.simulate.behaviour import Behaviour
from batchroute.simulate.traffic import prompt_digest
from jobs import job_of
from servers import simulator_process, threaded_simulator
from serving import COMMAND, KEY, client, error_in, post, serve, user, wait_for, write_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from servers import ThreadedSimulator
    from serving import Served

DONE_S = 60.0
OVER = {"completed", "failed", "cancelled", "expired"}
NAMES = ModelNames("length", 0.5, {"big-model": "strong", "small-model": "weak"})


def prompt(number: int) -> str:
    """Distinct in each row; about half of them are long enough to go strong at 0.5."""
    return f"question {number} " + "x" * (number * 137 % 1000)


def line(number: int, model: str = "router-length-0.5", text: str | None = None, **body: Any) -> dict[str, Any]:
    asked = {"model": model, "messages": user(prompt(number) if text is None else text), **body}
    return {"custom_id": f"row-{number}", "method": "POST", "url": "/v1/chat/completions", "body": asked}


def jsonl(*rows: Any) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


@contextmanager
def batching(
    folder: Path, url: str, changes: dict[str, Any] | None = None, **options: Any
) -> Iterator[tuple[Served, openai.OpenAI]]:
    with serve(folder, url, url, changes, **options) as served, client(served) as ask:
        yield served, ask


def start(ask: openai.OpenAI, content: bytes) -> Any:
    upload = ask.files.create(file=("../../etc/passwd", content), purpose="batch")
    assert (upload.filename, upload.bytes, upload.purpose) == ("../../etc/passwd", len(content), "batch")
    return ask.batches.create(
        input_file_id=upload.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"run": "7"},
    )


def poll(
    ask: openai.OpenAI, batch_id: str, until: Callable[[Any], bool] = lambda batch: batch.status in OVER
) -> Any:
    deadline = time.monotonic() + DONE_S
    while not until(batch := ask.batches.retrieve(batch_id)):
        assert time.monotonic() < deadline, batch
        time.sleep(0.05)
    return batch


def counts_of(batch: Any) -> tuple[int, int, int]:
    counts = batch.request_counts
    return counts.total, counts.completed, counts.failed


def lines_of(ask: openai.OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    return [] if file_id is None else [json.loads(row) for row in ask.files.content(file_id).text.splitlines()]


def test_a_batch_from_upload_to_results(tmp_path: Path) -> None:
    rows = [line(n) for n in range(60)]
    rows[7:10] = [line(7, text="[[fault:400]]"), line(8, text="[[fault:500]]"), line(9, stream=True)]
    changes = {f"endpoints.{side}.max_attempts": 1 for side in ("strong", "weak")}
    with threaded_simulator(Behaviour(count_prompts=True)) as provider:
        with batching(tmp_path, provider.url, changes) as (_, ask):
            batch = start(ask, jsonl(*rows, b"{torn"))
            assert (batch.status, batch.metadata) == ("validating", {"run": "7"})
            done = poll(ask, batch.id)
            good, bad = lines_of(ask, done.output_file_id), lines_of(ask, done.error_file_id)
            assert [each.id for each in ask.batches.list(limit=1)] == [batch.id]
            assert ask.files.retrieve(done.output_file_id).purpose == "batch_output"
        asked = provider.stats().asked
    assert (done.status, done.errors, counts_of(done)) == ("completed", None, (61, 57, 4))
    answered = [n for n in range(60) if n not in {7, 8, 9}]
    assert [row["custom_id"] for row in good] == [f"row-{n}" for n in answered]
    for number, row in zip(answered, good, strict=True):
        assert (row["error"], row["response"]["status_code"]) == (None, 200)
        long = len(prompt(number)) >= 500
        assert row["response"]["body"]["model"] == ("big-model" if long else "small-model")
    codes = {row["custom_id"]: row["error"]["code"] for row in bad}
    assert codes == {"row-7": "http_400", "row-8": "http_500", "row-9": "bad_row", None: "bad_row"}
    assert {prompt_digest(prompt(n)): 1 for n in answered}.items() <= asked.items()
    assert sum(asked.values()) == 59


def test_batches_for_one_side_alone_and_one_that_cannot_be_run(tmp_path: Path) -> None:
    with threaded_simulator() as provider, batching(tmp_path, provider.url) as (_, ask):
        models = "big-model", "small-model"
        batches = [start(ask, jsonl(*(line(n, model) for n in range(4)))) for model in models]
        mixed = start(ask, jsonl(*(line(n, model) for n, model in enumerate(models))))
        for model, batch in zip(models, batches, strict=True):
            done = poll(ask, batch.id)
            assert {row["response"]["body"]["model"] for row in lines_of(ask, done.output_file_id)} == {model}
            assert (done.error_file_id, counts_of(done)) == (None, (4, 4, 0))
        failed = poll(ask, mixed.id)
        assert provider.stats().requests == 8
    assert failed.status == "failed"
    assert [(error.code, error.line) for error in failed.errors.data] == [("mismatched_model", 2)]


@pytest.mark.parametrize(
    ("content", "code", "at_line"),
    [
        (b"\n\n", "empty_file", None),
        (jsonl(line(0, "gpt-9")), "model_not_found", 1),
        (jsonl(line(0), line(1, "big-model")), "mismatched_model", 2),
        (jsonl(b"{}"), "model_not_found", 1),
    ],
)
def test_a_batch_that_cannot_be_run(tmp_path: Path, content: bytes, code: str, at_line: int | None) -> None:
    """The worker's own word, without its process; what it writes is what a server tells."""
    files, batches = FileStore(tmp_path, 1 << 20), BatchStore(tmp_path)
    file_id, written = files.begin()
    written.write(content)
    files.finish(file_id, written, "batch.jsonl", "batch")
    batch = batches.create(file_id, None, 0)
    assert run_batch(job_of(tmp_path / "x.jsonl", tmp_path / "run"), batch.id, batches, files) == 0
    failed = batches.get(batch.id)
    assert (failed.status, failed.request_counts) == ("failed", Counts())
    assert failed.errors is not None
    assert [(error.code, error.line) for error in failed.errors.data] == [(code, at_line)]


def test_a_batch_that_is_late_is_stopped_without_a_signal(tmp_path: Path, server: ThreadedSimulator) -> None:
    """A process that signals itself dies of it where the handler is already gone."""
    server.control({"latency_s": 0.5})
    kills: list[Any] = []
    watching = True
    sys.addaudithook(lambda event, arguments: kills.append(arguments) if watching and event == "os.kill" else None)
    files, batches = FileStore(tmp_path, 1 << 30), BatchStore(tmp_path)
    file_id, written = files.begin()
    written.write(jsonl(*(line(n, "small-model") for n in range(1000))))
    files.finish(file_id, written, "batch.jsonl", "batch")
    batch = batches.create(file_id, None, 0)
    changes = {"endpoints.weak.base_url": server.url, "endpoints.weak.max_concurrency": 4}
    job = job_of(tmp_path / "x.jsonl", tmp_path / "run", changes)
    assert run_batch(job, batch.id, batches, files) == 0
    watching = False
    done = batches.get(batch.id)
    assert (done.status, kills) == ("expired", [])
    assert done.request_counts.completed == server.stats().requests < 1000


def test_a_batch_is_cancelled_and_what_is_answered_is_kept(tmp_path: Path) -> None:
    with threaded_simulator(Behaviour(latency_s=0.2)) as provider:
        with batching(tmp_path, provider.url, {"endpoints.weak.max_concurrency": 4}) as (_, ask):
            first = start(ask, jsonl(*(line(n, "small-model") for n in range(2000))))
            second = start(ask, jsonl(line(0)))
            poll(ask, first.id, lambda batch: batch.request_counts.completed > 0)
            assert ask.batches.cancel(second.id).status == "cancelling"
            assert ask.batches.cancel(first.id).status == "cancelling"
            done = [poll(ask, batch.id) for batch in (first, second)]
            good = lines_of(ask, done[0].output_file_id)
            with pytest.raises(openai.ConflictError, match="cancelled already"):
                ask.batches.cancel(first.id)
        asked = provider.stats().by_status["200"]
    assert [batch.status for batch in done] == ["cancelled", "cancelled"]
    assert 0 < len(good) == done[0].request_counts.completed == asked < 2000
    assert done[1].in_progress_at is None


def test_a_batch_waits_for_an_endpoint_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "FIRST_REST_S", 0.1)
    with threaded_simulator() as provider:
        provider.refuse()
        with batching(tmp_path, provider.url, {"limits.outage_s": 0.5}) as (_, ask):
            batch = start(ask, jsonl(*(line(n) for n in range(40))))
            waiting = poll(ask, batch.id, lambda batch: batch.errors is not None)
            assert waiting.status == "in_progress"
            assert "does not answer" in waiting.errors.data[0].message
            provider.listen()
            done = poll(ask, batch.id)
    assert (done.status, done.errors, counts_of(done)) == ("completed", None, (40, 40, 0))


def test_a_limit_on_money_turns_batches_off_and_holds_for_requests(tmp_path: Path) -> None:
    """100 tokens at $10 a million are a tenth of a cent, and there are three of them."""
    changes = {"limits.max_cost_usd": 0.003, "endpoints.weak.params": {"max_tokens": 100}}
    changes |= {"endpoints.strong.params": {"max_tokens": 100}}
    with threaded_simulator(Behaviour(response_tokens=1000)) as provider:
        for expected in (2, 2):  # the second server knows what the first one spent
            with batching(tmp_path, provider.url, changes) as (served, ask):
                while provider.stats().requests < expected:
                    ask.chat.completions.create(model="weak", messages=user("Hi"))
                with pytest.raises(openai.RateLimitError, match="max_cost_usd"):
                    ask.chat.completions.create(model="weak", messages=user("Hi"))
                assert post(served, b"{}", "/v1/batches").status == 404
            assert provider.stats().requests == expected


# --- a server that dies


@contextmanager
def killable(job: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], openai.OpenAI]]:
    command = [*COMMAND, "serve", str(job), "--port", str(port), "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["base_url"]
            with openai.OpenAI(base_url=url, api_key="x", max_retries=0) as ask:
                yield process, ask
        finally:
            process.kill()


def workers(folder: Path) -> list[int]:
    """The processes at work on batches of this folder."""
    found = subprocess.run(["ps", "-wweo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    lines = (entry.split(maxsplit=1) for entry in found.splitlines())
    return [int(pid) for pid, args in lines if "batchroute.serve.batch.worker" in args and str(folder) in args]


def get_on(ask: openai.OpenAI, batch_id: str, seen: int = 0) -> int:
    """Waits until more than `seen` requests are answered; returns how many."""
    batch = poll(ask, batch_id, lambda batch: batch.request_counts.completed > seen)
    completed: int = batch.request_counts.completed
    return completed


def test_a_batch_survives_whatever_dies(tmp_path: Path) -> None:
    """kill -9 of server and worker, then a plain stop, then kill -9 of the server alone: it is done once."""
    rows, concurrency = 200, 4
    with simulator_process(Behaviour(latency_s=0.1, count_prompts=True)) as provider:
        job = write_job(tmp_path, provider.url)
        job.write_text(
            job.read_text().replace('"small-model"', f'"small-model"\nmax_concurrency = {2 * concurrency}')
        )
        with killable(job) as (server, ask):
            batch = start(ask, jsonl(*(line(n, "small-model") for n in range(rows))))
            seen = get_on(ask, batch.id)
            (worker,) = workers(tmp_path)
            os.kill(worker, signal.SIGKILL)
            server.kill()
            server.wait(30)
        assert workers(tmp_path) == []
        with killable(job) as (server, ask):
            seen = get_on(ask, batch.id, seen)
            server.send_signal(signal.SIGTERM)
            server.wait(30)
        assert workers(tmp_path) == []
        with killable(job) as (server, ask):
            seen = get_on(ask, batch.id, seen)
            server.kill()
            server.wait(30)
        assert seen < rows
        with killable(job) as (_, ask):  # the worker of the dead server goes on
            done = poll(ask, batch.id)
            good = lines_of(ask, done.output_file_id)
        asked = provider.stats().asked
        wait_for(lambda: workers(tmp_path) == [])
    assert (done.status, counts_of(done), done.error_file_id) == ("completed", (rows, rows, 0), None)
    assert [row["custom_id"] for row in good] == [f"row-{n}" for n in range(rows)]
    assert sum(count - 1 for count in asked.values()) <= concurrency


def test_a_batch_survives_its_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "FIRST_REST_S", 0.1)
    rows, concurrency = 60, 4
    changes = {"endpoints.weak.max_concurrency": 2 * concurrency}
    with threaded_simulator(Behaviour(latency_s=0.5, count_prompts=True)) as provider:
        with batching(tmp_path, provider.url, changes) as (served, ask):
            batch = start(ask, jsonl(*(line(n, "small-model") for n in range(rows))))
            get_on(ask, batch.id)
            (worker,) = workers(tmp_path)
            os.kill(worker, signal.SIGKILL)
            done = poll(ask, batch.id)
            good = lines_of(ask, done.output_file_id)
        asked = provider.stats().asked
    assert ["exit -9" in said for said in served.said] == [True]
    assert (done.status, counts_of(done)) == ("completed", (rows, rows, 0))
    assert [row["custom_id"] for row in good] == [f"row-{n}" for n in range(rows)]
    assert sum(count - 1 for count in asked.values()) <= concurrency


def test_a_rest_that_ends_while_somebody_looks_is_over(tmp_path: Path) -> None:
    """Else a batch whose rest ended between a look at the batches and the wait after it is never tried again."""
    batches = BatchStore(tmp_path)
    batch = batches.create(new_id("file"), None, 0)
    queue = BatchQueue(
        job_of(tmp_path / "x", tmp_path / "run"), batches, FileStore(tmp_path, 1), {}, Lease({}, {}), print
    )
    queue._rests_until[batch.id] = time.monotonic()
    asyncio.run(asyncio.wait_for(queue._wait(), 10))
    assert queue._resting() == frozenset()
    assert queue._next(frozenset()) == batch
    assert queue._next(frozenset({batch.id})) is None


def test_two_servers_do_not_share_a_directory(tmp_path: Path) -> None:
    with threaded_simulator() as provider, batching(tmp_path, provider.url):
        job = write_job(tmp_path, provider.url)
        command = [*COMMAND, "serve", str(job), "--port", "0"]
        second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (second.returncode, second.stdout) == (4, "")
    assert "a server is at work here: pid " in second.stderr


# --- files


def test_files_are_listed_fetched_and_deleted(tmp_path: Path) -> None:
    content = jsonl(line(0, "small-model"))
    with threaded_simulator() as provider, batching(tmp_path, provider.url) as (served, ask):
        done = poll(ask, start(ask, content).id)
        assert {file.id for file in ask.files.list()} == {done.input_file_id, done.output_file_id}
        assert ask.files.content(done.input_file_id).content == content
        state = tmp_path / "run.serve"
        run = state / "runs" / done.id
        assert run.is_dir()
        assert ask.files.delete(done.output_file_id).deleted
        assert not run.exists()
        with pytest.raises(openai.NotFoundError):
            ask.files.content(done.output_file_id)
        for path in ("file-0", "..%2F..%2Fserve.lock", "batch_" + "0" * 32, "file-" + "0" * 32):
            response = post(served, b"", f"/v1/files/{path}/content", "GET")
            assert (response.status, error_in(response)["code"]) == (404, "not_found")
    modes = {path.stat().st_mode & 0o077 for path in [state, *state.rglob("*")]}
    assert modes == {0}, "for its owner's eyes only"
    assert not [path for path in state.rglob("*") if "passwd" in path.name]


def test_a_file_that_a_batch_reads_is_not_deleted(tmp_path: Path) -> None:
    with threaded_simulator(Behaviour(latency_s=0.2)) as provider, batching(tmp_path, provider.url) as (_, ask):
        batch = start(ask, jsonl(*(line(n) for n in range(200))))
        with pytest.raises(openai.ConflictError, match="reads this file"):
            ask.files.delete(batch.input_file_id)
        ask.batches.cancel(batch.id)
        poll(ask, batch.id)


def test_the_disk_is_not_filled(tmp_path: Path) -> None:
    with threaded_simulator() as provider:
        with batching(tmp_path, provider.url, most_disk_bytes=200_000) as (_, ask):
            kept = ask.files.create(file=("a", b"x" * 150_000), purpose="batch")
            with pytest.raises(openai.APIStatusError, match="there is room for") as raised:
                ask.files.create(file=("b", b"x" * 100_000), purpose="batch")
            assert raised.value.status_code == 413
            assert [file.id for file in ask.files.list()] == [kept.id]
            with pytest.raises(openai.APIStatusError, match="disk space") as raised:
                ask.batches.create(input_file_id=kept.id, endpoint="/v1/chat/completions", completion_window="24h")
            assert raised.value.status_code == 507
            ask.files.delete(kept.id)
            assert ask.files.create(file=("b", b"x" * 100_000), purpose="batch").bytes == 100_000
        assert list((tmp_path / "run.serve" / "files").glob(".*")) == [], "nothing is left of what did not fit"


def test_a_batch_stops_where_the_disk_space_ends(tmp_path: Path) -> None:
    content = jsonl(*(line(n, "small-model") for n in range(300)))
    with threaded_simulator(Behaviour(latency_s=0.05, response_tokens=4000)) as provider:
        options = {"most_disk_bytes": 3 * len(content)}
        with batching(tmp_path, provider.url, {"endpoints.weak.max_concurrency": 8}, **options) as (_, ask):
            batch = start(ask, content)
            waiting = poll(ask, batch.id, lambda batch: batch.errors is not None)
            assert "disk space" in waiting.errors.data[0].message
            ask.batches.cancel(batch.id)
            done = poll(ask, batch.id)
    assert done.status == "cancelled"
    assert 0 < done.request_counts.completed < 300


FORM = {"Content-Type": "multipart/form-data; boundary=B"}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{}", {"Content-Type": "application/json"}, 415),
        (b"nothing", FORM, 400),
        (b"--B\r\n\r\n", FORM, 400),
        (b"--B--\r\n", FORM, 400),
        (b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--B--\r\n', FORM, 400),
        (b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--B--\r\n', FORM, 400),
        (b"--B\r\nno colon\r\n\r\nx\r\n--B--\r\n", FORM, 400),
        (b"--B\r\nA: " + b"x" * 9000 + b"\r\n\r\nx\r\n--B--\r\n", FORM, 400),
        (b"--B\r\n" + b"A: b\r\n" * 300 + b"\r\nx\r\n--B--\r\n", FORM, 400),
    ],
)
def test_an_upload_that_is_none(tmp_path: Path, body: bytes, headers: dict[str, str], status: int) -> None:
    with threaded_simulator() as provider, batching(tmp_path, provider.url) as (served, _):
        response = post(served, body, "/v1/files", **headers)
    assert response.status == status
    assert error_in(response)["type"] == "invalid_request_error"
    assert list((tmp_path / "run.serve" / "files").iterdir()) == []


def test_a_file_may_have_any_name(tmp_path: Path) -> None:
    """Also one whose bytes are no UTF-8: it is text in a description, and never a path."""
    body = b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--B\r\n'
    body += b'Content-Disposition: form-data; name="file"; filename="\xff/b"\r\n\r\nx\r\n--B--\r\n'
    with threaded_simulator() as provider, batching(tmp_path, provider.url) as (served, ask):
        assert post(served, body, "/v1/files", **FORM).status == 200
        assert [file.filename for file in ask.files.list()] == ["\ufffd/b"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"endpoint": "/v1/embeddings"},
        {"completion_window": "1h"},
        {"metadata": {"a": 1}},
        {"input_file_id": 7},
    ],
)
def test_a_request_for_a_batch_that_is_none(tmp_path: Path, changes: dict[str, Any]) -> None:
    whole = {"input_file_id": new_id("file"), "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    body = json.dumps({**whole, **changes} if changes else {}).encode()
    with threaded_simulator() as provider, batching(tmp_path, provider.url) as (served, _):
        assert post(served, body, "/v1/batches").status == 400
        assert post(served, json.dumps(whole).encode(), "/v1/batches").status == 404
        deep = json.dumps(whole).encode()[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        assert post(served, deep, "/v1/batches").status == 400
        for limit in ("x", "0", "9" * 5000):
            assert post(served, b"", f"/v1/batches?limit={limit}", "GET").status == 400


# --- decisions


def test_a_worker_is_woken_and_where_there_is_none_nothing_happens(tmp_path: Path) -> None:
    async def wait() -> None:
        wake_worker(tmp_path)
        with woken(tmp_path) as cancelled:
            for _ in range(2):
                cancelled.clear()
                await asyncio.to_thread(wake_worker, tmp_path)
                await asyncio.wait_for(cancelled.wait(), 20)
        wake_worker(tmp_path)

    asyncio.run(wait())


@given(st.text(max_size=60) | st.from_regex(r"(file-|batch_)[0-9a-f]{30,34}", fullmatch=True))
def test_only_an_id_as_ours_becomes_a_path(text: str) -> None:
    try:
        accepted = checked_id(text, "file")
    except ApiError:
        return
    assert re.fullmatch("file-[0-9a-f]{32}", accepted)


@pytest.mark.parametrize(
    ("signal_number", "stopped", "cancelled", "expired", "ending"),
    [
        (None, (), False, False, "completed"),
        (None, (), True, True, "completed"),
        (15, (), True, False, "cancelled"),
        (15, (), False, True, "expired"),
        (15, (), False, False, None),
        (None, ("away",), False, False, None),
        (None, ("away",), False, True, "expired"),
    ],
)
def test_how_a_batch_ends(
    signal_number: int | None, stopped: tuple[str, ...], cancelled: bool, expired: bool, ending: str | None
) -> None:
    end = RunEnd(10, 5, 0, 0, 1.0, asked=True, stopped=stopped, signal=signal_number)
    assert ending_of(end, cancelled=cancelled, expired=expired) == ending


def test_odd_lines_are_no_reason_to_refuse_a_batch(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    rows = (
        b"{torn",
        b"7",
        b"\xff",
        b'{"body": []}',
        line(1),
        b'{"body": {"model": "router-length-0.5", "x": NaN}}',
    )
    path.write_bytes(jsonl(*rows, b"", b"[" * 5000))
    batch_input = read_batch_input(path, NAMES)
    assert (batch_input.requests, batch_input.selection, batch_input.errors) == (7, 0.5, [])


def test_errors_of_a_batch_are_told_up_to_a_number(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(jsonl(line(0), *(line(n, f"model-{n}") for n in range(1, 500))))
    assert len(read_batch_input(path, NAMES).errors) == 100


def test_the_run_of_a_batch_is_the_servers_job_on_its_file(tmp_path: Path) -> None:
    changes = {"router.text": "question", "input.route": "route", "endpoints.weak.headers": {"x-plain": "a"}}
    job = job_of(tmp_path / "x", tmp_path / "run", {**changes, "endpoints.weak.api_key_env": "CANARY"})
    run = batch_job(job, tmp_path / "in.data", tmp_path / "batch", ALL_WEAK)
    assert (run.input.path, run.input.format, run.output.raw) == (
        [str(tmp_path / "in.data")],
        "openai-batch",
        True,
    )
    assert (run.router.text, run.routing.threshold, run.input.route) == (None, ALL_WEAK, None)
    assert run.endpoints == job.endpoints


def test_a_key_is_in_no_file_of_a_batch(tmp_path: Path) -> None:
    changes = {f"endpoints.{side}.api_key_env": "CANARY" for side in ("strong", "weak")}
    with (
        threaded_simulator(Behaviour(api_key="another")) as provider,
        batching(tmp_path, provider.url, changes, environ={"CANARY": KEY}) as (_, ask),
    ):
        batch = start(ask, jsonl(*(line(n) for n in range(10))))
        waiting = poll(ask, batch.id, lambda batch: batch.errors is not None)
        assert "check the key" in waiting.errors.data[0].message
        ask.batches.cancel(batch.id)
        poll(ask, batch.id)
    files = [path.read_bytes() for path in (tmp_path / "run.serve").rglob("*") if path.is_file()]
    grams = [KEY[i : i + 8].encode() for i in range(len(KEY) - 7)]
    assert not [gram for gram in grams for text in files if gram in text]


def test_what_lies_on_disk_is_what_a_new_server_knows(tmp_path: Path) -> None:
    for each in (FileStore(tmp_path, 10**9), BatchStore(tmp_path)):
        assert each.listed() == []
    files, batches = FileStore(tmp_path, 10**9), BatchStore(tmp_path)
    file_id, written = files.begin()
    written.write(b"abc")
    stored = files.finish(file_id, written, "name", "batch")
    begun, left = files.begin()
    left.close()
    batch = batches.create(stored.id, None, 1_795_000_000)
    FileStore(tmp_path, 10**9).tidy()
    assert FileStore(tmp_path, 10**9).listed() == [stored]
    assert BatchStore(tmp_path).open() == [batch]
    with pytest.raises(ApiError):
        files.get(begun)
    assert Counter(path.suffix for path in (tmp_path / "files").iterdir()) == {".json": 1, ".data": 1}
