"""Figures and foreign text as words, the same on a terminal, on a page and in a log.

The one place that says how a number, an amount, a time or a share is written, and what of other people's text may
reach a display. What is unknown says so: it is never 0.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from batchroute.job.tiers import STANDARD, tier_of
from batchroute.show import terms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.quality.promise import Tested
    from batchroute.report.figures import Report
    from batchroute.run.calibrate import Calibration
    from batchroute.run.whatif import WhatIf

UNKNOWN = "unknown"
_NAME_CHARS = 60
_BRIEF_CHARS = 140
_TEXT_CHARS = 4000
_REPLACED = "\N{REPLACEMENT CHARACTER}"
_CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), _REPLACED)  # all but tab and line feed


def count(number: int | None) -> str:
    return UNKNOWN if number is None else f"{number:,}"


def rows_of(number: int) -> str:
    """As "1 row" or "20,000 rows"."""
    return "1 row" if number == 1 else f"{count(number)} rows"


def money(usd: float | None) -> str:
    """Dollars to a hundredth of a cent, so that small bills can be told apart and columns align."""
    return UNKNOWN if usd is None else f"{round(usd, 4) + 0.0:,.4f}"  # + 0.0 makes -0.0 an ordinary zero


def spent_of(usd: float | None, limit_usd: float) -> str:
    """What was spent of a limit, and where that stands."""
    return f"{of_limit(usd, limit_usd)} (limits.max_cost_usd)"


def of_limit(usd: float | None, limit_usd: float) -> str:
    """What was spent of a limit, in cents where the limit has no smaller part of a dollar."""
    places = 2 if round(limit_usd, 2) == limit_usd else 4
    spent = UNKNOWN if usd is None else f"{usd:,.{places}f}"
    return f"{spent} of {limit_usd:,.{places}f}"


def percent(fraction: float | None) -> str:
    return UNKNOWN if fraction is None else f"{100 * fraction:.1f} %"


def exact_percent(fraction: float) -> str:
    """Of a share that somebody set, as it was set: 95 %, 97.5 %."""
    return f"{100 * fraction:.10g} %"


def seconds(number: float | None) -> str:
    return UNKNOWN if number is None else f"{number:,.2f}"


def duration(number: float | None) -> str:
    if number is None:
        return UNKNOWN
    if number < 60:  # fractions of a second matter only there
        return f"{number:.1f} s"
    minutes, rest = divmod(round(number), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def clock(number: float) -> str:
    """Whole seconds as h:mm:ss, which keeps its width while it counts."""
    return str(timedelta(seconds=int(number)))


def speed(rows_per_s: float) -> str:
    return f"{rows_per_s:,.1f} rows/s"


def threshold(score: float | None) -> str:
    return UNKNOWN if score is None else f"{score:.5f}"


def digits(value: float | None, places: int) -> str:
    """A measure without a unit; a dash where it is unknown, for tables that have no room for the word."""
    return "-" if value is None else f"{value:.{places}f}"


def interval(ends: tuple[float, float] | None) -> str:
    return "-" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"


def plain(text: str) -> str:
    """A name from outside, without control characters and of bounded length."""
    name = one_line(text)
    return name if len(name) <= _NAME_CHARS else name[: _NAME_CHARS - 1] + "…"


def brief(text: str) -> str:
    """The beginning of a sentence from outside, in whole words where it has any."""
    line = one_line(text[:_BRIEF_CHARS])
    return line if len(text) <= _BRIEF_CHARS else (line.rpartition(" ")[0] or line) + " …"


def sentence(words: str) -> str:
    """Words of ours as a sentence; names in them keep their capitals."""
    return f"{words[:1].upper()}{words[1:]}."


def one_line(text: str) -> str:
    """A sentence with names from outside in it: nothing breaks the line or steers a display."""
    return _printable(text, "")


def printable(text: str) -> str:
    """Running text from outside: line breaks stay, what could steer a display does not."""
    kept = _printable(text[:_TEXT_CHARS], "\n\t")
    return kept if len(text) <= _TEXT_CHARS else kept + "…"


def harmless(text: str) -> str:
    """Text that goes to a terminal as it is, but for the control characters that a terminal obeys."""
    return text.translate(_CONTROLS)


def _printable(text: str, kept: str) -> str:
    return "".join(char if char.isprintable() or char in kept else _REPLACED for char in text)


def warnings_of(report: Report) -> list[str]:
    """What must be read before any figure of the report."""
    tie = report.tie and f"{report.tie.words}."
    quality = report.quality
    broken = None if quality is None or quality.broken_words is None else sentence(quality.broken_words)
    return [words for words in (broken, simulated_words(report), _unknown_cost_words(report), tie) if words]


def simulated_words(report: Report) -> str | None:
    """The line that keeps make-believe money from being taken for real."""
    if not report.simulated:
        return None
    if len(report.simulated) > 1:
        return "SIMULATED: both sides are built-in fake providers; their answers and all money are made up."
    side = report.simulated[0]
    return f"SIMULATED: the {side} side is a built-in fake provider; its answers and its money are made up."


def _unknown_cost_words(report: Report) -> str | None:
    words = unknown_cost_words(report.cost_unknown_rows)
    return words and f"{words}, savings are not stated."


def unknown_cost_words(rows: int) -> str | None:
    """That sums lack the cost of so many rows."""
    if not rows:
        return None
    return f"The cost of {rows_of(rows)} is unknown (no price or no usage): the sums are without it"


def moved_words(report: Report) -> list[tuple[str, int]]:
    """What is out of the ordinary about rows of the bill, and of how many."""
    unsealed = 0 if report.state == "running" else report.unsealed
    lines = [
        ("taken over at no cost", report.reused),
        ("weak to keep the budget", report.budget_rows),
        ("asked of the other side, as an answer was cut or refused", report.finish_rows),
        ("not sealed yet: run the job again to have them in the results", unsealed),
    ]
    return [(words, rows) for words, rows in lines if rows]


def wins_words(report: Report) -> str | None:
    """How much of what the strong side is expected to win its share of the rows holds."""
    if report.win_mass_kept is None:
        return None
    strong = f"the {percent(report.strong_fraction)} of the rows that went strong"
    return f"{strong} hold {percent(report.win_mass_kept)} of all expected wins"


# What stands of `FinishCounts` in a table, below these headings.
FINISH_HEADINGS = ("answered", "cut (length)", "filtered", "refused by the model", "empty")


def finish_rows(report: Report) -> list[tuple[str, list[str]]]:
    """By endpoint how its answers ended; nothing where all of them ended by themselves."""
    counts = {
        name: (ended.answered, ended.length, ended.content_filter, ended.refusal, ended.empty)
        for name, ended in report.finish.items()
    }
    if not any(any(others) for _, *others in counts.values()):
        return []
    return [(name, [count(number) for number in numbers]) for name, numbers in counts.items()]


def served_words(report: Report) -> list[str]:
    """Lines on who has answered: models other than those asked for, tiers where not all are the standard one."""
    others = [
        f"answered by another model than the one asked for, {name}: {_counted(models)}"
        for name, models in report.other_models.items()
    ]
    return others + [
        f"tiers of service, {name}: {_counted(tiers)}"
        for name, tiers in report.service_tiers.items()
        if {*map(tier_of, tiers)} != {STANDARD}
    ]


def _counted(names: Mapping[str, int]) -> str:
    return ", ".join(f"{plain(name)} {count(rows)}" for name, rows in names.items())


def predicted_rows(report: Report) -> list[tuple[str, str, str, str]]:
    """What the plan said and what came: a label, the plan's best guess, its range, and what it was."""
    plan = report.predicted
    if plan is None:
        return []
    cost, rows_usd, pilot_usd = plan.cost_usd, report.cost_usd, report.pilot_cost_usd
    came_usd = None if rows_usd is None or pilot_usd is None else rows_usd + pilot_usd  # as a plan has both in one
    thresholds = threshold(plan.threshold), "", threshold(report.threshold)
    between = "" if cost is None else f"{money(cost.low)} to {money(cost.high)}"
    return [
        ("cost, USD", money(None if cost is None else cost.mid), between, money(came_usd)),
        ("time", duration(plan.time_s), "", duration(report.wall_s)),
        ("strong share", percent(plan.strong_fraction), "", percent(report.strong_fraction)),
        *([] if plan.rows == report.rows else [("rows", count(plan.rows), "", count(report.rows))]),
        *([] if plan.threshold in {None, report.threshold} else [("threshold", *thresholds)]),
    ]


def unconfirmed_words(report: Report) -> str | None:
    """What the amount is that stands beside the total."""
    if report.unconfirmed_usd == 0:
        return None
    if report.unconfirmed_usd is None:
        return terms.UNCONFIRMED.line
    return f"{terms.UNCONFIRMED.line}; at most this much" + (
        "" if report.max_cost_usd is None else ", which counts against the limit"
    )


def causes_of(report: Report) -> list[tuple[str, float]]:
    """What the savings come from, each with its amount; nothing where that is not known."""
    causes = (
        ("saved by routing", report.saved_routing_usd),
        ("saved by reuse", report.saved_reuse_usd),
        ("saved by delivery", report.saved_delivery_usd),
        ("saved by caching", report.saved_caching_usd),
    )
    return [(words, usd) for words, usd in causes if usd is not None]


def saved_rows(report: Report) -> list[tuple[str, str]]:
    """The same as text."""
    return [(words, money(usd)) for words, usd in causes_of(report)]


def lengths_words(report: Report) -> str | None:
    """How long the answers are taken to be that a side would have given."""
    lengths = {name: tokens for name, tokens in report.mean_output_tokens.items() if tokens is not None}
    if not lengths:
        return None
    means = ", ".join(f"{name} {tokens:,.1f}" for name, tokens in lengths.items())
    if len(lengths) == len(report.mean_output_tokens):
        return f"of an answer that a side did not give, its own mean length is assumed: {means} output tokens"
    return f"one side gave all answers, so the other is taken to answer at the same length: {means} output tokens"


def unanswered_words(report: Report) -> str | None:
    """That the sums of a run that is not at its end are those of a part, which need not be like the rest."""
    if not report.remaining:
        return None
    rows = "1 row has" if report.remaining == 1 else f"{count(report.remaining)} rows have"
    return f"{rows} no answer yet: these sums are of the others only, and what is saved in the end may differ"


def requests_words(report: Report) -> str:
    return f"{count(report.attempts)} requests, {count(report.retries)} of them retries"


def engine_words(report: Report) -> str | None:
    """How the last run by workers went; None where there was none."""
    engine = report.engine
    if engine is None:
        return None
    workers = f"{count(engine.workers)} worker{'s' if engine.workers > 1 else ''} ({engine.use})"
    shards = f"{count(engine.shards_done)} of {count(engine.shards)} shards done"
    if not engine.workers_lost:
        return f"{workers}, {shards}"
    paid = f"with at most {rows_of(engine.paid_twice_bound)} in flight that may be billed twice"
    return f"{workers}, {shards}; {count(engine.workers_lost)} lost on the way, {paid}"


def calibration_words(calibration: Calibration) -> str:
    """A line for the job file, with all the digits it takes to get the same rows again."""
    share = "no row has a score" if calibration.strong_fraction is None else f"{calibration.strong_fraction:.4%}"
    rows = f"{count(calibration.strong_rows)} of {count(calibration.rows)} rows go strong ({share})"
    return f"threshold = {calibration.threshold!r}  # {rows}"


def _kept_words(kept: Tested | None) -> str:
    if kept is None:
        return ""
    about = f"{percent(kept.kept)} ({percent(kept.low)} to {percent(kept.high)})"
    return f"keeps about {about} of the strong side's quality, by the pilot's grades\n"


def whatif_words(found: WhatIf) -> str:
    """The threshold, what would go strong there, and what that would cost."""
    share = percent(found.strong_rows / found.rows if found.rows else None)
    delta = found.delta_usd
    difference = "difference unknown" if delta is None else f"{'+' if delta >= 0 else '-'}{money(abs(delta))}"
    return (
        f"threshold {found.threshold!r}: {count(found.strong_rows)} of {count(found.rows)} rows strong ({share})\n"
        f"{count(found.changed_rows)} rows change side\n"
        f"cost USD {money(found.cost_usd)} ({difference})\n"
        f"{_kept_words(found.kept)}"
        f"to run it now costs USD {money(found.new_usd)}: the answers of all other rows are taken over"
    )
