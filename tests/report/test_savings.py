"""What all rows on one side would have cost, and what was saved by which cause: examples, and what must hold."""

from __future__ import annotations

from dataclasses import replace
from math import fsum
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.job.endpoint import Price
from batchroute.job.prices import Target, find_pricing
from batchroute.report.all_one_side import all_on_one_side_usd
from batchroute.report.build import build_report
from batchroute.report.savings import savings_by_cause
from batchroute.report.tokens import TokenSum, mean_completions
from runs import failed, ok, write_run

if TYPE_CHECKING:
    from decimal import Decimal
    from pathlib import Path

STRONG_PRICE = """price = { input = 2.0, cached_input = 0.2, cache_write = 2.5, output = 10.0, tiers.flex = \
{ input = 1.0, cached_input = 0.1, cache_write = 1.25, output = 5.0 } }"""


def run_of(folder: Path, *rows: dict[str, Any], **given: Any) -> Path:
    """A run whose strong side has prices for everything."""
    run = write_run(folder / "run", [rows], rows=len(rows), **given)
    job = (run / "job.toml").read_text()
    (run / "job.toml").write_text(job.replace(job[job.index("price = ") : job.index("}") + 1], STRONG_PRICE))
    return run


def test_the_worked_example_of_all_on_one_side(tmp_path: Path) -> None:
    strong = [ok(row, completion_tokens=length) for row, length in enumerate((300, 500))]
    weak = ok(2, "weak", prompt_tokens=3000, completion_tokens=100)
    report = build_report(run_of(tmp_path, *strong, weak))
    assert (report.all_strong_usd, report.all_weak_usd) == (0.022, 0.0013)
    assert report.mean_output_tokens == {"strong": 400, "weak": 100}


def test_a_side_that_answered_nothing_is_taken_to_answer_as_the_other_did(tmp_path: Path) -> None:
    report = build_report(
        run_of(tmp_path, ok(0, "weak", completion_tokens=100), ok(1, "weak", completion_tokens=300))
    )
    assert report.all_strong_usd == pytest.approx((2000 * 2 + 400 * 10) / 1e6)
    assert report.mean_output_tokens == {"strong": None, "weak": 200}


def test_rows_that_both_sides_answered_count_as_one_answer(tmp_path: Path) -> None:
    """Each was cut at 100 tokens by weak, and then answered in 60 by strong: about 80, and surely not 160."""
    twice = [
        ok(row, route_reason="finish", prompt_tokens=2000, completion_tokens=160, attempts=2, cost_usd=0.003)
        for row in range(2)
    ]
    report = build_report(run_of(tmp_path, *twice))
    assert report.all_strong_usd == pytest.approx(2 * (1000 * 2 + 80 * 10) / 1e6)
    assert report.savings_usd == pytest.approx(2 * (0.0028 - 0.003))


def test_the_worked_example_of_savings_by_cause(tmp_path: Path) -> None:
    run = run_of(
        tmp_path,
        ok(0, service_tier="flex", cost_usd=0.0015),
        ok(1, cached_tokens=800, cost_usd=0.00156),
        ok(2, cache_write_tokens=900, cost_usd=0.00345),
        ok(3, "weak", attempts=0, cost_usd=0.0),
    )
    report = build_report(run, router_cost_usd=0.00005)
    saved = (report.saved_routing_usd, report.saved_reuse_usd, report.saved_delivery_usd, report.saved_caching_usd)
    assert saved == pytest.approx((0.00265, 0.0003, 0.0015, 0.00099), abs=1e-12)
    assert (report.all_strong_usd, report.savings_usd) == pytest.approx((0.012, 0.00544), abs=1e-12)


@pytest.mark.parametrize(
    ("change", "cause", "saved"),
    [
        # Written and hardly ever read: 900 tokens at 2.5 instead of 2.
        ({"cache_write_tokens": 900, "cost_usd": 0.00345}, "caching", -0.00045),
        # A tier that costs more than the standard one.
        ({"service_tier": "priority", "cost_usd": 0.003}, "delivery", 0.0),
        # Nothing of it is known to be of a cause, such as a bill in the provider's own words.
        ({"cost_usd": 0.0021}, "routing", 0.0009),
        # Both sides answered it: 2,000 prompt tokens were those of two requests.
        ({"route_reason": "finish", "prompt_tokens": 2000, "cost_usd": 0.0033}, "routing", -0.0003),
    ],
)
def test_one_row_alone(tmp_path: Path, change: dict[str, Any], cause: str, saved: float) -> None:
    beside = [ok(1)] if "route_reason" in change else []  # whose answer has the length of one
    report = build_report(run_of(tmp_path, ok(0, **change), *beside))
    causes = {name: getattr(report, f"saved_{name}_usd") for name in ("routing", "reuse", "delivery", "caching")}
    assert causes == pytest.approx({**dict.fromkeys(causes, 0.0), cause: saved}, abs=1e-12)


@pytest.mark.parametrize("setting", ['service_tier = "flex"', 'params = { service_tier = "flex" }'])
def test_a_tier_that_an_answer_does_not_name_is_the_one_asked_for(tmp_path: Path, setting: str) -> None:
    run = run_of(tmp_path, ok(0, cost_usd=0.0015))
    job = (run / "job.toml").read_text()
    (run / "job.toml").write_text(job.replace("[endpoints.strong]", f"[endpoints.strong]\n{setting}"))
    report = build_report(run)
    assert (report.all_strong_usd, report.saved_delivery_usd, report.saved_routing_usd) == (0.003, 0.0015, 0.0)


def test_rows_without_an_answer_and_the_router_are_the_price_of_routing(tmp_path: Path) -> None:
    run = run_of(tmp_path, ok(0), failures=[failed(1, cost_usd=0.5)])
    report = build_report(run, router_cost_usd=0.25)
    assert report.saved_routing_usd == report.savings_usd == pytest.approx(-0.75)


def _target(name: str, price: dict[str, Any] | None) -> Target:
    pricing = None if price is None else find_pricing(name, Price.model_validate(price), "h.example")
    return Target(name, name, pricing)


prices = st.fixed_dictionaries(
    {"input": st.integers(1, 50), "output": st.integers(1, 50)},
    optional={
        "cached_input": st.integers(0, 1),
        "cache_write": st.integers(0, 60),
        "tiers": st.fixed_dictionaries(
            {"flex": st.fixed_dictionaries({"input": st.just(1), "output": st.just(1)})}
        ),
    },
)
sums = st.builds(
    TokenSum,
    route=st.sampled_from(["strong", "weak"]),
    service_tier=st.sampled_from([None, "default", "flex", "scale"]),
    is_reused=st.booleans(),
    is_twice=st.booleans(),
    longest_prompt=st.just(2**62),
    rows=st.integers(1, 10**6),
    prompt=st.integers(10**6, 10**9),
    cached=st.integers(0, 5 * 10**5),
    written=st.integers(0, 5 * 10**5),
    completion=st.integers(0, 10**9),
)


@given(st.lists(sums, max_size=8), prices | st.none(), prices | st.none(), st.decimals(0, 10**6, places=6))
def test_the_causes_add_up_to_the_whole_whatever_the_tokens_and_the_bill(
    rows: list[TokenSum], strong: dict[str, Any] | None, weak: dict[str, Any] | None, bill: Decimal
) -> None:
    targets = {"strong": _target("strong", strong), "weak": _target("weak", weak)}
    all_strong = all_on_one_side_usd(targets["strong"], rows, mean_completions(rows))
    assert (all_strong is None) == (strong is None)
    saved = None if all_strong is None else all_strong - bill
    found = savings_by_cause(saved, targets, rows)
    causes = (found.routing, found.reuse, found.delivery, found.caching)
    unpriced = {name for name, target in targets.items() if target.pricing is None}
    if saved is None or any(each.route in unpriced and not each.is_twice for each in rows):
        assert causes == (None,) * 4, "what is unknown is not 0"
    else:
        assert sum(cause for cause in causes if cause is not None) == saved
        assert (found.reuse != 0) <= any(each.is_reused for each in rows)
        assert (found.caching != 0) <= any(each.cached or each.written for each in rows)


@given(st.lists(sums, min_size=1, max_size=8), prices)
def test_rows_of_one_side_alone_would_have_cost_there_what_their_tokens_cost(
    rows: list[TokenSum], price: dict[str, Any]
) -> None:
    target = _target("strong", price)
    alone = [replace(each, route="strong", is_twice=False) for each in rows]
    expected = fsum(each.prompt * price["input"] + each.completion * price["output"] for each in alone) / 1e6
    found = all_on_one_side_usd(target, alone, mean_completions(alone))
    assert float(found or 0) == pytest.approx(expected)
