"""The page loads nothing, runs nothing, and shows text of rows on demand only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import structs

from batchroute.report.comparison import compare
from batchroute.report.details import Details, ErrorExample, ExpensiveRow, Sample, read_details
from batchroute.show.page.render import render_nights, render_run
from pages import Page, everything, page_of, settled_run
from runs import failed, ok, refused, write_run

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.report.figures import Report


def test_the_page_is_one_file_without_script_or_network(tmp_path: Path) -> None:
    report, details = everything(tmp_path)
    html = render_run(report, details)
    page = Page(html)
    assert "script" not in {tag for tag, _ in page.tags}
    targets = [value for _, attrs in page.tags for name, value in attrs.items() if name.endswith(("href", "src"))]
    assert all((value or "").startswith("#") for value in targets)
    assert "@import" not in html
    assert "://" not in html
    assert not re.search(r"url\((?!#)", html)


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    evil = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>\x1b[2J"
    rows = [ok(0, id=evil, response=evil, topic=evil, model=evil), refused(1, error_type=evil)]
    run = settled_run(tmp_path, rows, extra=[pa.field("topic", pa.string())], name=evil)
    page = Page(page_of(run, samples=5))
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert page.text.count("<img src=x onerror=alert(1)>") >= 3
    assert "\x1b" not in page.text


def _named(report: Report, text: str) -> Report:
    """The report with the text wherever a name or a message from outside stands."""
    others = {"strong": {text: 1}}
    lanes = {name: structs.replace(lane, state=text, last_error=text) for name, lane in report.lanes.items()}
    models = [structs.replace(bill, model=text) for bill in report.models]
    return structs.replace(
        report,
        name=text,
        run=text,
        errors={text: 1},
        service_tiers=others,
        other_models=others,
        lanes=lanes,
        models=models,
    )


def _tags(report: Report, text: str) -> list[str]:
    expensive = ExpensiveRow(text, 0, text, text, 1, 1, 1.0, text, text)
    sample = Sample(text, 0, text, 0.5, "weak", text, {text: text})
    details = Details(True, None, [ErrorExample(text, text, 0, text, text)], [expensive], [sample])
    named = _named(report, text)
    pages = render_run(named, details), render_nights(compare([named, named]))
    return [tag for page in pages for tag, _ in Page(page).tags]


def test_no_text_of_a_row_adds_an_element(tmp_path: Path) -> None:
    report, _ = everything(tmp_path)
    expected = _tags(report, "plain")

    @given(text=st.text(st.characters(exclude_categories=["Cs"])))
    @example(text="</pre></td><b>")
    @settings(max_examples=50)
    def holds(text: str) -> None:
        assert _tags(report, text) == expected

    holds()


def test_text_of_rows_is_only_there_on_demand(tmp_path: Path) -> None:
    run = settled_run(tmp_path, [ok(0, response="a private answer")])
    assert "a private answer" not in page_of(run)
    assert "a private answer" in page_of(run, samples=1)


def test_an_example_of_each_error_has_its_words_only_on_demand(tmp_path: Path) -> None:
    rows = [refused(0, id="q0", error="you said: a private prompt"), refused(1, error="again: a private prompt")]
    run = settled_run(tmp_path, rows, failures=[failed(2, error="HTTP 500: a private path")])
    text = Page(page_of(run)).text
    assert "http_400" in text
    assert "q0 (prompts.jsonl:0)" in text or "prompts.jsonl:1" in text
    assert "prompts.jsonl:2" in text
    assert "private" not in text
    shown = Page(page_of(run, samples=1)).text
    assert "a private prompt" in shown
    assert "a private path" in shown


def test_samples_are_the_rows_nearest_to_the_threshold(tmp_path: Path) -> None:
    rows = [ok(n, score=n / 10) for n in range(10)]
    run = write_run(tmp_path / "run", [rows[::2], rows[1::2]], rows=10)
    samples = read_details(run, samples=3).samples
    assert [sample.row for sample in samples] == [4, 5, 6]
    assert samples[0].response == "answer 4"
