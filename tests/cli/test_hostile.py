"""Prompts, answers and errors that mean harm, and keys that someone would like to see: through every output."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
from aiohttp import web

from jobs import on_both, write_job
from upstream import upstream

KEY = "sk-canary-8f3kQ71xZpL0vB6n"
BATCHROUTE = [sys.executable, "-c", "from batchroute.cli import main; main()"]
EVIL = [
    "\x1b]0;pwned\x07\x1b[31mred\x1b[2J",
    "\x9b31m and \x00 NUL \x7f DEL \u202e",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    '=HYPERLINK("http://evil.example","x")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "[red]rich[/red] [link=http://evil.example]x[/link]",
    "{{ 7 * 7 }} ${HOME} %(x)s {0}",
]
JOB = {
    "name": "<script>alert(2)</script> \x1b[31m",
    "input.id": "id",
    "input.keep": ["id"],
    "output.raw": True,
    "routing.threshold": 0.02,
    **on_both("api_key_env", "CANARY_KEY"),
    **on_both("max_attempts", 2),
    "limits.outage_s": 1,
}
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


async def mirror(request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
    """Says the prompt back as answer, as model, as error, along with the key it was sent."""
    prompt, key = asked["messages"][-1]["content"], request.headers["Authorization"]
    evil = prompt.partition("!")[2]
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    message = {"content": evil, "reasoning_content": f"{evil} {key}", "tool_calls": [{"id": evil}]}
    status = int(prompt[:3])
    body = {"model": evil, "choices": [{"message": message, "finish_reason": evil}], "usage": usage}
    if status != 200:
        body = {"error": {"message": f"{evil} {key}", "type": evil, "code": evil}}
    return web.json_response(body, status=status)


def said_by(folder: Path, *arguments: str, code: int) -> str:
    """What a command prints, to both streams; its arguments and environment are as a user's."""
    environ = {**os.environ, "CANARY_KEY": KEY, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    with subprocess.Popen(
        [*BATCHROUTE, *arguments], cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        arguments_seen = Path(f"/proc/{process.pid}/cmdline")
        assert not arguments_seen.exists() or not leaks(arguments_seen.read_bytes())
        said = process.communicate()[0].decode("utf-8", "replace")
    assert process.returncode == code, said
    return said


def leaks(*texts: bytes | str) -> set[str]:
    grams = {KEY[i : i + 8] for i in range(len(KEY) - 7)}
    plain = [text.decode("utf-8", "replace") if isinstance(text, bytes) else text for text in texts]
    return {gram for gram in grams for text in plain if gram in text}


def every_file(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


def write(folder: Path, url: str, statuses: list[int]) -> None:
    prompts = [f"{status} {'x' * (100 * (n % 2))}!{evil}" for status in statuses for n, evil in enumerate(EVIL)]
    rows = (json.dumps({"prompt": prompt, "id": prompt.partition("!")[2]}) + "\n" for prompt in prompts)
    (folder / "prompts.jsonl").write_text("".join(rows))
    write_job(folder, JOB, on_both("base_url", url))


def test_hostile_text_and_echoed_keys_harm_no_output(tmp_path: Path) -> None:
    with upstream(mirror) as provider:
        write(tmp_path, provider.url, [200, 422, 500])
        said = [
            said_by(tmp_path, "run", "job.toml", "--log-format", "json", code=3),
            said_by(tmp_path, "check", "job.toml", code=0),
            said_by(tmp_path, "report", "run", code=0),
            said_by(tmp_path, "report", "run", "--json", code=0),
            said_by(tmp_path, "report", "run", "--html", "page.html", "--samples", "20", code=0),
            said_by(tmp_path, "report", "run", "--html", "--by", "id", code=0),
            said_by(tmp_path, "report", "run", "run", "--html", "nights.html", code=0),
            said_by(tmp_path, "export", "run", "out.csv", code=0),
            said_by(tmp_path, "export", "run", "out.jsonl", code=0),
            said_by(tmp_path, "export", "run", "out.parquet", code=0),
        ]
    assert not [text for text in said if CONTROL.search(text)]
    assert leaks(*said, *every_file(tmp_path)) == set()
    for name in ("page.html", "run/report.html", "nights.html"):
        page = (tmp_path / name).read_text()
        assert "<script" not in page.lower()
        assert "<img" not in page.lower()
        assert not CONTROL.search(page)
    with (tmp_path / "out.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(line.replace("\0", "") for line in file) for cell in row]
    assert not [cell for cell in cells if cell[:1] in {"=", "+", "-", "@", "\t", "\r"}]
    exact = pl.read_parquet(tmp_path / "out.parquet")
    assert set(EVIL) <= set(exact["response"]), "Parquet is exact"
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert [row["response"] for row in lines] == exact["response"].to_list()
    assert exact.filter(status="refused")["error"].str.contains("[secret]", literal=True).all()


def test_a_key_that_is_echoed_where_it_is_refused_shows_nowhere(tmp_path: Path) -> None:
    with upstream(mirror) as provider:
        write(tmp_path, provider.url, [401])
        for style in ("text", "json"):
            said = said_by(tmp_path, "run", "job.toml", "--log-format", style, code=4)
            assert "[secret]" in said
            assert "check the key it names" in said
            assert leaks(said) == set()
            assert not CONTROL.search(said)
    assert leaks(*every_file(tmp_path)) == set()


BROKEN = """
import os

class Router:
    def score(self, prompts):
        key = os.environ["CANARY_KEY"]
        raise RuntimeError("a bug")
"""


def test_a_traceback_shows_no_key(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    with upstream(mirror) as provider:
        write(tmp_path, provider.url, [200])
        said = said_by(tmp_path, "run", "job.toml", "--set", 'router.use="broken:Router"', code=1)
    assert "Traceback" in said
    assert "a bug" in said
    assert leaks(said, *every_file(tmp_path)) == set()
