"""What a pilot found, in sentences: what routing keeps and costs here, how sure that is, what it rests on.

The same on a terminal, on a page and in a notebook. Careful about one thing: a choice that was made by the same
grades makes their estimates a little too good, so only the target is promised; what is kept, and its interval, are
said as an estimate. Computes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchroute.show import terms
from batchroute.show.summary import spent_words
from batchroute.show.words import count, exact_percent, money, one_line, percent, plain, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchroute.report.figures import Report
    from batchroute.report.quality import CurvePoint, Quality

ROUTERS: Mapping[str, str] = {
    "job": "the job's router",
    "own": "the router fitted on the pilot",
    "length": "prompt length",
    "random": "random",
}
_JUDGES: Mapping[str, str] = {
    "reference": "against the right answers",
    "rubric": "by a judge's points",
    "pairwise": "by a judge's preference",
    "check": "by the job's [check]",
}
_LEFT_OUT: Mapping[str, str] = {
    "no_answer": "answered by neither side",
    "no_reference": "without a right answer",
    "judge_unreadable": "without a verdict that could be read",
}


def sentence_of(quality: Quality) -> str:
    """The one that stands on the first screen.

    As "Routing keeps 96.1 % (at least 95 % with 90 % confidence) of gpt-6.1-sol's quality at 38 % of its cost, the
    pilot's $1.20 included."
    """
    if quality.target is None:
        return _measured(quality)
    strong, weak = _strong(quality), plain(quality.weak_model or "the weak side")
    if quality.verdict is None:
        return "The pilot is not at its end: run the job again to go on."
    if quality.verdict == "all strong":
        return _unproven(quality, quality.target)
    kept = f"{_kept(quality, quality.target)} of {strong}'s quality{_cost(quality)}"
    if quality.verdict == "route":
        return f"Routing {kept}."
    if quality.verdict == "all weak":
        return f"{weak} alone {kept}: all rows go weak."
    return f"{weak} is better than {strong} on these prompts: alone it {kept}."


def verdict_words(quality: Quality) -> str:
    """In as few words as a table has room for."""
    verdict = quality.verdict or ("measured" if quality.target is None else "unfinished")
    return f"{verdict}, broken" if quality.broken else verdict


def _kept(quality: Quality, target: float) -> str:
    sure = f"with {exact_percent(quality.confidence)} confidence"
    if quality.kept is None:
        return f"keeps at least {exact_percent(target)} ({sure})"
    return f"keeps {percent(quality.kept)} (at least {exact_percent(target)} {sure})"


def _unproven(quality: Quality, target: float) -> str:
    """Nothing but all strong is shown to keep the target."""
    only = "so it takes all rows strong"
    if not quality.rows:
        return f"No row of the pilot could be graded and nothing is shown, {only}."
    confidence, strong = exact_percent(quality.confidence), _strong(quality)
    kept = f"to keep {exact_percent(target)} of {strong}'s quality with {confidence} confidence"
    return f"Nothing below 100 % strong is shown {kept}, {only}."


def _measured(quality: Quality) -> str:
    """Of a pilot without a target nothing is promised."""
    rows = f"Measured on {rows_of(quality.rows)}"
    if quality.kept is None or quality.strong_share is None:
        return f"{rows}; no quality target is set (routing.quality)."
    about = f"about {percent(quality.kept)} of {_strong(quality)}'s quality{_cost(quality)}"
    return f"{rows}, {percent(quality.strong_share)} strong keeps {about}; no quality target is set."


def _strong(quality: Quality) -> str:
    return plain(quality.strong_model or "the strong side")


def _cost(quality: Quality) -> str:
    """Nothing where a price is unknown."""
    if quality.cost_share is None:
        return ""
    pilot = f"the pilot's {spent_words(quality.pilot_cost_usd, None)}" if quality.pilot_cost_usd else "the pilot"
    return f" at {cost_share_words(quality.cost_share)} of its cost, {pilot} included"


def cost_share_words(share: float | None) -> str:
    """Of what all rows strong would cost."""
    if share is None:
        return "-"
    return f"{100 * share:.0f} %" if share >= 0.1 else percent(share)


def interval_words(low: float | None, high: float | None) -> str:
    """As "94.2 to 98.0 %"; an end that is not known is open."""
    if low is None and high is None:
        return "-"
    if low is None:
        return f"up to {percent(high)}"
    return f"from {percent(low)}" if high is None else f"{100 * low:.1f} to {percent(high)}"


def details_of(quality: Quality) -> Iterator[str]:
    """What stands below the sentence: where the threshold lies, what the estimate rests on."""
    yield from _choice(quality)
    if quality.strong_grade == 0:
        yield (
            f"{_strong(quality)}'s mean grade is 0, so there is nothing to keep: look at the judge, and at what "
            "it holds the answers against"
        )
    yield from _graded(quality)
    if quality.reused is not None:
        yield f"the pilot of {one_line(quality.reused)} was taken over, as it still fits"
    if quality.why_new is not None:
        yield f"a new pilot, as {one_line(quality.why_new)}"


def _choice(quality: Quality) -> Iterator[str]:
    if quality.verdict == "all strong" and (first := _first_below(quality)) is not None:
        estimate = (
            f"at {percent(first.share)} strong the estimate is {_estimate(first.kept, first.low, first.high)}"
        )
        if quality.rows_needed is None:
            yield f"{estimate}; how many rows would show it is not in sight"
        else:
            needed, graded = rows_of(quality.rows_needed), count(quality.rows)
            yield f"{estimate}; about {needed} would show it, {graded} were graded"
        if quality.pilot_cost_usd:
            yield f"the pilot's {spent_words(quality.pilot_cost_usd, None)} comes on top of all strong"
        return
    if quality.verdict == "all strong" or quality.kept is None:
        return
    whose = ROUTERS.get(quality.router, plain(quality.router))
    share = f"{percent(quality.strong_share)} of the rows go strong, by {whose}; " if quality.strong_share else ""
    yield f"{share}kept is estimated as {_estimate(quality.kept, quality.low, quality.high)}"


def _first_below(quality: Quality) -> CurvePoint | None:
    """The first point below all strong."""
    points = quality.curves.get(quality.router, [])
    return next((point for point in points if point.share < 1), None)


def _estimate(kept: float | None, low: float | None, high: float | None) -> str:
    return percent(kept) if low is None and high is None else f"{percent(kept)} ({interval_words(low, high)})"


def _graded(quality: Quality) -> Iterator[str]:
    judge = _JUDGES.get(quality.judge, f"by {plain(quality.judge)}")
    model = "" if quality.judge_model is None else f", {plain(quality.judge_model)}"
    of_all = f"{count(quality.rows)} of {rows_of(quality.asked)}"
    graded = f"{of_all if quality.reused is None else rows_of(quality.rows)} graded {judge}{model}"
    if quality.strong_grade is not None and quality.weak_grade is not None:
        graded += f"; mean grades: strong {quality.strong_grade:.3f}, weak {quality.weak_grade:.3f}"
    yield graded
    left_out = {reason: rows for reason, rows in quality.left_out.items() if rows}
    if left_out:
        reasons = (f"{count(rows)} {_LEFT_OUT.get(reason, one_line(reason))}" for reason, rows in left_out.items())
        yield f"{rows_of(sum(left_out.values()))} left out: {', '.join(reasons)}"
    elif quality.routers.keys() & {"own"} and quality.reused is None and quality.rows < quality.asked:
        yield f"the other {rows_of(quality.asked - quality.rows)} chose the router, and are no part of the promise"
    if quality.order_agreement is not None:
        yield f"the judge said the same in both orders on {percent(quality.order_agreement)} of the rows"


def target_words(quality: Quality) -> Iterator[str]:
    """What the columns of the shares mean."""
    yield terms.KEPT.line
    yield "strong: the share of the rows that goes strong; cost: of the job without its pilot, against all strong"
    if quality.target is not None and quality.tested:
        aim, sure = exact_percent(quality.target), exact_percent(quality.confidence)
        yield (
            f"target: whether at least {aim} is shown to be kept, with {sure} confidence; shares are tested from "
            "the top until one is not, and all weak by itself"
        )


def cost_words(report: Report) -> str:
    """What the pilot cost beside the rows' own answers, which it has as well before the rows have taken them."""
    if report.pilot_cost_usd is None:
        return "what the pilot cost is not known: no price or no usage of some answers"
    cost = f"the pilot cost ${money(report.pilot_cost_usd)}"
    judge = f", of it ${money(report.judge_cost_usd)} for the judge" if report.judge_cost_usd else ""
    if report.quality is None:
        return f"{cost} so far{judge}; of each row one answer becomes its result"
    beside_usd = report.quality.pilot_cost_usd
    if beside_usd is None or money(beside_usd) == money(report.pilot_cost_usd):
        return f"{cost} beside the rows' own answers{judge}"
    return f"{cost}{judge}; rows take their own side's answers from it, and ${money(beside_usd)} stay beside them"


def watch_words(quality: Quality) -> Iterator[str]:
    """What the night's watched rows say: all of them, and by route."""
    watch = quality.watch
    if watch is None:
        return
    if watch.kept is None:
        yield f"watched: {rows_of(watch.rows)}, too few to say what they keep"
        return
    most = "" if watch.high is None else f", at most {percent(watch.high)}"
    yield f"watched: on {rows_of(watch.rows)} {percent(watch.kept)} is kept{most}"
    for group in watch.by_route:
        estimate = _estimate(group.kept, group.low, group.high)
        yield f"watched, {plain(group.name)}: on {rows_of(group.rows)} {estimate}"
