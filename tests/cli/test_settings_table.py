"""What `settings` lists, and the table in jobs/README.md, which `batchroute settings --markdown` prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from command import assert_one_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from command import Said

    Command = Callable[..., Said]

README = Path(__file__).parents[2] / "jobs" / "README.md"


def test_the_table_of_settings_is_true(batchroute: Command) -> None:
    table = batchroute("settings", "--markdown").out.strip()
    assert table.startswith("| key | type | default |")
    assert table in README.read_text(encoding="utf-8"), "put what `batchroute settings --markdown` prints there"


def test_every_setting_is_listed_with_its_default(batchroute: Command) -> None:
    said = batchroute("settings").out
    assert "input.path  text or list; required; stays once a row is answered\n    file, glob" in said
    assert "endpoints.*.max_concurrency  whole number; 64 by default\n" in said
    found = json.loads(batchroute("settings", "--json").out)["settings"]
    assert [each["key"] for each in found] == [line.split("  ")[0] for line in said.splitlines()[::2]]
    by_key = {each["key"]: each for each in found}
    assert by_key["input.path"]["required"]
    assert by_key["limits.on_budget"]["choices"] == ["stop", "downgrade"]
    assert by_key["limits.outage_s"] == {**by_key["limits.outage_s"], "default": 3600, "may_change": True}


@pytest.mark.parametrize(("words", "count"), [(["max_cost"], 1), (["limits.", "routing."], 15), (["cost"] * 2, 1)])
def test_words_choose_settings(batchroute: Command, words: list[str], count: int) -> None:
    found = json.loads(batchroute("settings", *words, "--json").out)["settings"]
    assert len(found) == count
    assert all(any(word in each["key"] for word in words) for each in found)


def test_a_word_in_no_name(batchroute: Command) -> None:
    assert_one_message(batchroute("settings", "no_such"), 2, "no_such", "lists all")
    assert_one_message(batchroute("settings", "--json", "--markdown"), 2, "either")
