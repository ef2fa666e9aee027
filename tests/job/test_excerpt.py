"""What of a job file stands in a message: a line and a caret, and nothing that may be a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.errors import JobFault
from batchroute.job.excerpt import excerpt
from batchroute.job.load import load_job

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "canary-0123456789"
KEY = "sk-proj-4f9aB7c2D1e8"
HEAD = '[input]\npath = "a.jsonl"\n'


def message(folder: Path, text: str) -> str:
    path = folder / "job.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(JobFault) as caught:
        load_job(path, environ={})
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "words", "caret"),
    [
        ("model = gpt-6-luna", "Invalid value at column 9; write a text in straight quotes", 9),
        ("raw = True", "a truth as true or false", 7),
        ("prompt = “text”", "Invalid value at column 10; write a text in straight quotes", 10),
        ('path = "C:\\data"', "Unescaped '\\' in a string at column 13; write a text with backslashes", 13),
        ('"path": "a"', "Expected '=' after a key in a key/value pair at column 7; fix this line", 7),
        ("strong_fraction = 0,5", "write one setting a line, and numbers as 0.5", 20),
        ("strong_fraction 0.5", "Expected '=' after a key", 17),
        ("[input]", "Cannot declare ('input',) twice at column 7; a table stands once in a file", 7),
        ("[endpoints.strong", "Expected ']' at the end of a table declaration at column 18", 18),
        ('path = "a', "Illegal character '\\n' at column 10", 10),
    ],
)
def test_a_syntax_error_shows_its_line_and_a_caret(tmp_path: Path, line: str, words: str, caret: int) -> None:
    said = message(tmp_path, f"[input]\n{line}\n[output]\n")
    assert "job.toml:2: not valid TOML: " in said
    assert words in said
    if line != "strong_fraction 0.5":  # whose name is not told from a value
        assert said.endswith(f"\n    {line}\n    {' ' * (caret - 1)}^")


def test_what_the_end_of_the_file_cuts_off_is_shown_too(tmp_path: Path) -> None:
    assert message(tmp_path, '[input]\npath = [\n  "a.jsonl",\n\n').endswith(
        '\n      "a.jsonl",\n                ^'
    )


def test_a_wrong_value_within_a_line_is_shown_with_its_line(tmp_path: Path) -> None:
    text = HEAD + '[endpoints.strong]\nprice = { input = 1, output = "3" }\n'
    said = message(tmp_path, text)
    fault = "job.toml:4: endpoints.strong.price.output: must be a number of US dollars"
    assert f'{fault}\n    price = {{ input = 1, output = "3" }}\n    {" " * 21}^' in said
    assert "\n    [endpoints" not in said  # what has a line of its own is found by its number


def test_the_caret_stands_right_under_wide_characters_and_tabs(tmp_path: Path) -> None:
    said = message(tmp_path, '[input]\n\tprompt = "質問", x\n')
    assert said.splitlines()[-2:] == ['     prompt = "質問", x', f"    {' ' * 16}^"]


def test_a_long_line_is_cut_around_the_place(tmp_path: Path) -> None:
    said = message(tmp_path, f'[input]\npath = [{", ".join(["9.5"] * 200)}, "x" "y"]\n')
    *_, line, caret = said.splitlines()
    assert len(line) <= 104
    assert line[len(caret) - 1] == '"'


SECRETS = [
    f'api_key_env = "{CANARY}',
    f"api_key_env = {CANARY}",
    f'api_key_command = "echo {CANARY}',
    f'base_url = "https://x/v1?key={CANARY}',
    f'headers = {{ "x-token" = "{CANARY}", }} x',
    f'params = {{ user = "{CANARY}" }} x',
    f'model = "gpt-6-luna" "{KEY}"',
    f"model = {KEY}",
    f"{KEY}",
    f'"{CANARY}" = ',
    f'unknown = "{CANARY}',
    f'"x-token": "{CANARY}"',
    f'headers = [\n  ["x", "{CANARY}"] ]',
    f'headers = {{\n  "x-token" = "{CANARY[:15]}"',
    f'path = "a.jsonl"  # {KEY} ] [',
    f'[endpoints.strong.headers]\nauthorization = "Bearer {CANARY}',
    f'[endpoints.strong]\nprice = {{ input = 1, output = "{KEY}" }}',
    f'[endpoints.strong]\nparams = {{ n = 1.5, user = "{CANARY}", stream = true }}',
    f'[endpoints.strong]\nprice = {{ inputs = "{CANARY}" }}',
]


@pytest.mark.parametrize("lines", SECRETS)
def test_a_line_that_may_hold_a_secret_is_not_shown(tmp_path: Path, lines: str) -> None:
    said = message(tmp_path, HEAD + lines + "\n")
    for secret in (CANARY, KEY):
        pieces = [secret[at : at + 8] for at in range(len(secret) - 7)]
        assert not any(piece in said for piece in pieces), said
    assert "job.toml:" in said


@given(st.text(max_size=150), st.integers(1, 200))
def test_two_lines_or_none(text: str, column: int) -> None:
    line = f"path = {text}".replace("\n", " ")
    shown = excerpt(["[input]", line], 2, min(column, len(line) + 1), frozenset({"path"}))
    assert shown == "" or [part[:4] for part in shown.split("\n")] == ["", "    ", "    "]
    assert shown.isprintable() or set(shown) - {"\n"} == {char for char in shown if char.isprintable()}
