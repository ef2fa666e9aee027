"""Answers against a schema, a pattern and a function; and settings that can be none."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.errors import JobFault, OwnCodeFault
from batchroute.grade.check import make_check
from batchroute.grade.embedded import json_value

ITEM = {"type": "object", "properties": {"price": {"type": "number", "minimum": 0}}, "required": ["price"]}
SCHEMA = {
    "type": "object",
    "properties": {
        "label": {"enum": ["yes", "no"]},
        "items": {"type": "array", "items": {"$ref": "#/$defs/item"}},
    },
    "required": ["label"],
    "additionalProperties": False,
    "$defs": {"item": ITEM},
}
GOOD = '{"label": "yes", "items": [{"price": 1.5}]}'

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def says_no(row: dict[str, Any], response: str) -> str | None:
    row["response"] = "changed"  # its own copy
    return None if response == row["wanted"] else f"is not {row['wanted']}"


def raises(_row: dict[str, Any], response: str) -> str | None:
    return response[99]


def tells_the_truth(_row: dict[str, Any], response: str) -> bool:
    return bool(response)


def says_nothing(_row: dict[str, Any], _response: str) -> str:
    return " "


async def awaits(_row: dict[str, Any], _response: str) -> None:
    return None


def takes_one(_response: str) -> None:
    return None


@pytest.mark.parametrize(
    ("response", "fault"),
    [
        (GOOD, None),
        (f"  {GOOD}\n", None),
        (f"```json\n{GOOD}\n```", None),
        (f"```\n{GOOD}```", None),
        (f"Here it is:\n\n```JSON\n{GOOD}\n```\nAsk for more {{if}} you like.", None),
        (f"As [1] says, it is {GOOD}.", None),
        (f"The {{answer}} is: {GOOD} [sic]", None),
        ('{"label": "maybe"}', 'at /label: "maybe" is not one of "yes" or "no"'),
        ("{}", '"label" is a required property'),
        ('{"label": "no", "items": [{"price": 1}, {"price": -1}]}', "at /items/1/price: -1 is less than"),
        ('{"label": "no", "more": 1}', "'more' was unexpected"),
        ("[]", 'not of type "object"'),
        ("yes", "not JSON: "),
        ("", "not JSON: "),
        ('{"label": "yes"', "not JSON: "),
        (
            f'{{"label": "yes", "items": [{{"price": 1}}], more: {GOOD}}}',
            "not JSON: ",
        ),  # broken, whatever it holds
        ('{"label": NaN}', "not JSON: "),
        ('So: {"label": "no", "items": [{"price": Infinity}]}', "not JSON: "),
        ("[" * 50_000, "not JSON: nested too deep"),
        ("x" + '{"a":' * 50_000, "not JSON: nested too deep"),
        (None, "has no text"),
    ],
)
def test_a_schema_finds_what_is_wrong(response: str | None, fault: str | None) -> None:
    found = make_check(schema=SCHEMA).fault({}, response)
    assert found == fault if fault is None else fault in (found or "")
    assert len(found or "") < 1000


def test_nothing_is_taken_off_where_it_must_stand_alone() -> None:
    check = make_check(schema=SCHEMA, strip=False)
    assert check.fault({}, f"\n{GOOD} ") is None
    assert "not JSON" in (check.fault({}, f"```json\n{GOOD}\n```") or "")


def test_a_fault_stays_short_and_names_no_more_than_three() -> None:
    schema = {"items": {"maxLength": 1}}
    found = make_check(schema=schema).fault({}, json.dumps(["long" * 1000] * 9)) or ""
    assert found.count("at /") == 3
    assert len(found) < 1000


def test_an_empty_schema_takes_any_json_and_false_none() -> None:
    assert make_check(schema={}).fault({}, "1") is None
    assert make_check(schema=True).fault({}, "1") is None
    assert make_check(schema=False).fault({}, "1")


def test_a_pattern_is_looked_for_anywhere() -> None:
    check = make_check(regex="^(yes|no)$")
    assert check.fault({}, "yes") is None
    assert check.fault({}, "yes, of course") == "does not match ^(yes|no)$"
    assert make_check(regex=r"\d").fault({}, "about 7 or so") is None


def test_a_function_says_what_is_wrong() -> None:
    row = {"wanted": "Paris", "response": "Lyon"}
    check = make_check(function=f"{__name__}:says_no")
    assert check.fault(row, "Lyon") == "is not Paris"
    assert check.fault(row, "Paris") is None
    assert row["response"] == "Lyon"


def test_all_settings_must_hold() -> None:
    check = make_check(schema=SCHEMA, regex="yes", function=f"{__name__}:says_no")
    assert check.fault({"wanted": GOOD}, GOOD) is None
    assert "match" in (check.fault({"wanted": GOOD}, GOOD.replace("yes", "no")) or "")
    assert "label" in (check.fault({"wanted": GOOD}, '{"a": "yes"}') or "")
    assert check.fault({"wanted": "x"}, GOOD) == "is not x"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("raises", r"raises raised IndexError: string index out of range \(.*test_check.py:\d+\)"),
        ("tells_the_truth", "tells_the_truth gave True; it must give None, or say what is wrong"),
        ("says_nothing", "gave ' '"),
    ],
)
def test_a_function_that_breaks_its_promise_is_named(function: str, words: str) -> None:
    with pytest.raises(OwnCodeFault, match=words):
        make_check(function=f"{__name__}:{function}").fault({}, "an answer")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"schema": {"type": "strin"}}, 'check.schema: at /type: "strin" is not valid'),
        ({"schema": {"properties": {"a": {"minimum": "x"}}}}, "check.schema: at /properties/a/minimum: "),
        ({"schema": []}, "check.schema: "),
        ({"schema": {"pattern": "("}}, "check.schema: at /pattern: "),
        ({"schema": {"$ref": "#/$defs/none"}}, "check.schema: "),
        ({"schema": {"$ref": "https://example.com/a.json"}}, "https://example.com/a.json is not fetched"),
        ({"schema": {"$ref": "other.json"}}, "other.json is not fetched"),
        ({"schema": {"$ref": "file:///etc/passwd"}}, "file:///etc/passwd is not fetched"),
        ({"schema": {"const": object()}}, "check.schema: "),
        ({"regex": "(yes"}, "check.regex: no regular expression: "),
        ({"function": "no_such_module:f"}, "check.function: no_such_module:f: cannot be imported"),
        ({"function": f"{__name__}:not_there"}, "check.function: "),
        ({"function": f"{__name__}:SCHEMA"}, "is no function"),
        ({"function": f"{__name__}:awaits"}, "must not be async"),
        ({"function": f"{__name__}:takes_one"}, "must take a row and its response"),
    ],
)
def test_settings_that_cannot_be_used_are_named_with_their_place(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(JobFault) as raised:
        make_check(**settings)
    assert len(raised.value.faults) == 1
    assert words in str(raised.value)


def test_all_settings_that_cannot_be_used_are_named_at_once() -> None:
    with pytest.raises(JobFault) as raised:
        make_check(schema=3, regex="(", function="no_such_module:f")
    assert [fault.partition(":")[0] for fault in raised.value.faults] == [
        "check.regex",
        "check.schema",
        "check.function",
    ]


def test_what_is_in_a_schema_can_be_referred_to() -> None:
    inner = {"$id": "https://example.com/own.json", "type": "integer"}
    check = make_check(schema={"$ref": "https://example.com/own.json", "$defs": {"own": inner}})
    assert check.fault({}, "1") is None
    assert check.fault({}, '"1"')


@given(json_values, st.sampled_from(["{}", "```json\n{}\n```", "So:\n```\n{}\n```\n", " {}\n"]))
def test_a_value_is_found_in_its_fence(value: Any, around: str) -> None:
    text = json.dumps(value)
    if abs(value) < 2**64 if isinstance(value, int) else True:
        assert json_value(around.replace("{}", text), strip=True) == value


@given(
    st.dictionaries(st.text(), json_values, min_size=1), st.sampled_from(["", "See [1]: ", "{Well}, ", "[ok] "])
)
def test_an_object_is_found_among_words(value: dict[str, Any], before: str) -> None:
    assert json_value(f"{before}{json.dumps(value)} is it {{so}} [", strip=True) == value


@given(st.text(alphabet='[]{}",:1a\\ \n`'))
def test_any_text_has_a_value_or_a_fault(text: str) -> None:
    check = make_check(schema=True)
    assert check.fault({}, text) is None or (check.fault({}, text) or "").startswith("not JSON: ")


@pytest.mark.parametrize("unit", ["[", "[1,", "{", '{"a', "[]", "```", "```\n", "[1 ", '["', "]"])
@pytest.mark.timeout(20)
def test_many_brackets_take_time_by_their_length(unit: str) -> None:
    make_check(schema=SCHEMA).fault({}, f"x{unit * (100_000 // len(unit))}")
    assert sys.getrecursionlimit() < 10_000
