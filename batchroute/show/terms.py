"""The words that not everybody knows: a line for each below the table that uses it, and more of it on a page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Term:
    """A word and what it means; a page has room for `more`."""

    word: str
    meaning: str
    more: str = ""

    @property
    def line(self) -> str:
        """As it stands on a terminal."""
        return f"{self.word}: {self.meaning}"

    @property
    def whole(self) -> str:
        """As it stands on a page, below the word."""
        return f"{self.meaning}; {self.more}" if self.more else self.meaning


UNCONFIRMED = Term(
    "unconfirmed",
    "requests that were sent and brought no usage, so what they were billed is not known",
    "the amount is the most they can have cost, and the provider's own bill settles it",
)
EXPECTED_WINS = Term(
    "expected wins (win mass)",
    "the sum of the scores, so how many rows strong should answer better",
    "the share of them that its rows hold says how much of its worth was bought",
)
KEPT = Term(
    "kept",
    "the mean grade of the routed answers against that of the strong side's; an estimate, with its interval",
    "as the choice was made by the same grades, the estimate at it is a little too good, and only the target is "
    "warranted",
)
STRONG_SHARE = Term("strong share (strong fraction)", "rows that went strong, of all that went to either side")
DRIFT = Term(
    "drift",
    "whether scores are spread as in the first run, by the stability index (PSI); below 0.10 is no change, "
    "above 0.25 a clear one",
    "where they are not, the prompts have changed, and a threshold chosen for the old ones may send too many or "
    "too few rows to the strong side; with few rows chance alone brings as much",
)

ALL_ONE_SIDE = (
    "all strong, all weak: every usable row by the price list, in the standard tier and without a cache; the "
    "amounts at other shares are as the job sends rows (tier, cache, overrides)"
)

# What stands below the tables of a page, by subject.
QUALITY = (
    KEPT,
    Term(
        "cost", "what the whole job costs where this share goes strong, without its pilot, against all rows strong"
    ),
    Term(
        "target",
        "routing.quality, the part of the strong side's quality that is to be kept",
        "it is shown with routing.confidence over the drawing of the pilot: a share is shown, or it is not with "
        "these rows; shares are tested from all strong down until one is not shown, and all weak by itself",
    ),
    Term(
        "APGR",
        "how much of the difference in quality a router's order keeps, the mean over all shares",
        "chance is 0.5",
    ),
    Term(
        "watched",
        "later rows, drawn at random, that both sides were asked",
        "where at most less than the target is kept, the target is broken",
    ),
)
SAVINGS = (
    Term(
        "all rows strong",
        "what the same rows would have cost on the strong side, at its price list, one request each",
    ),
    Term(
        "saved by routing",
        "what rows cost less because they went to the weak side",
        "less the router's own cost, the pilot's, and what rows without an answer cost",
    ),
    Term("saved by reuse", "rows whose answer was taken over from an earlier run, at no cost"),
    Term(
        "saved by delivery",
        "what a cheaper service tier saves, such as flex",
        "negative where a dearer one answered",
    ),
    Term(
        "saved by caching",
        "prompt tokens that the provider read from its cache",
        "negative where writing the cache cost more than reading it saved",
    ),
)
BILL = (
    Term("cached", "the part of the prompt tokens that the provider had in its cache and bills at a lower price"),
    UNCONFIRMED,
    Term("unknown", "no price, or no usage, is known", "it is never counted as 0"),
    Term("planned", "what the last plan before the first answer said: its best guess, and the range it gave"),
)
LANES = (
    Term("sending", "requests are in flight, and more are sent as answers come"),
    Term("paused by 429", "the provider asked to slow down", "the lane waits as long as it was told to"),
    Term(
        "sending at its own rate limit",
        "the job's requests_per_minute or tokens_per_minute is used to the full",
    ),
    Term("service tier full", "the cheap tier has no room at the moment"),
    Term(
        "endpoint away",
        "requests of several rows failed one after the other",
        "now one at a time asks whether it is back",
    ),
    Term("no money for the next row", "what is left of limits.max_cost_usd may not cover the next request"),
)
SCORES = (
    Term(
        "score",
        "the router's estimate, from 0 to 1, of how likely the strong model's answer is the better one",
        "it ranks rows, and is no calibrated probability",
    ),
    Term("threshold", "rows with this score or a higher one go to the strong side"),
    EXPECTED_WINS,
)

SIMULATED = "SIMULATED: some of this money is made up, by built-in fake providers."
APGR = (
    "APGR: how much of the difference in quality a router keeps, the mean over all shares of strong calls (chance "
    "is 0.5); CPT50: the percentage of strong calls that keeps half of it; AUC: mean quality over all shares"
)
PILOT_APGR = (
    "APGR: how much of the difference in quality a router's order keeps on the graded rows, the mean over all "
    "shares (chance is 0.5)"
)
BUILTIN_ROUTER = (
    "the built-in router ranks a little better than prompt length does, where that was measured: measure it on "
    "rows of your own with evaluate, or train one on them"
)
