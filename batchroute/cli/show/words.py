"""Figures as words, the same on a terminal and on a page; what is unknown says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchroute.report.figures import Report

UNKNOWN = "unknown"
_NAME_CHARS = 60
_TEXT_CHARS = 4000


def count(number: int | None) -> str:
    return UNKNOWN if number is None else f"{number:,}"


def money(usd: float | None) -> str:
    """Dollars to a hundredth of a cent, so that small bills can be told apart and columns align."""
    return UNKNOWN if usd is None else f"{usd:,.4f}"


def percent(fraction: float | None) -> str:
    return UNKNOWN if fraction is None else f"{100 * fraction:.1f} %"


def seconds(number: float | None) -> str:
    return UNKNOWN if number is None else f"{number:,.2f}"


def duration(number: float | None) -> str:
    if number is None:
        return UNKNOWN
    if number < 60:
        return f"{number:.1f} s"
    minutes, rest = divmod(round(number), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def plain(text: str) -> str:
    """A name from outside, without control characters and of bounded length."""
    name = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return name if len(name) <= _NAME_CHARS else name[: _NAME_CHARS - 1] + "…"


def printable(text: str) -> str:
    """Running text from outside: line breaks stay, what could steer a display does not."""
    kept = "".join(
        char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}"
        for char in text[:_TEXT_CHARS]
    )
    return kept if len(text) <= _TEXT_CHARS else kept + "…"


def simulated_words(report: Report) -> str | None:
    """The line that keeps make-believe money from being taken for real."""
    if not report.simulated:
        return None
    if len(report.simulated) > 1:
        return "SIMULATED: both sides are built-in fake providers; their answers and all money are made up."
    side = report.simulated[0]
    return f"SIMULATED: the {side} side is a built-in fake provider; its answers and its money are made up."


def moved_words(report: Report) -> list[tuple[str, int]]:
    """What is out of the ordinary about rows of the bill, and of how many."""
    lines = [
        ("taken over at no cost", report.reused),
        ("weak to keep the budget", report.budget_rows),
        ("not sealed yet: run the job again to have them in the results", report.unsealed),
    ]
    return [(words, rows) for words, rows in lines if rows]


def unknown_cost_words(report: Report) -> str | None:
    if not report.cost_unknown_rows:
        return None
    rows = "1 row" if report.cost_unknown_rows == 1 else f"{report.cost_unknown_rows:,} rows"
    return (
        f"The cost of {rows} is unknown (no price or no usage): the sums are without it, savings are not stated."
    )
