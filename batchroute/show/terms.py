"""The words that not everybody knows, a line for each, which stands below the table that uses it."""

from __future__ import annotations

SIMULATED = "SIMULATED: some of this money is made up, by built-in fake providers."
UNCONFIRMED = "unconfirmed: requests that were sent and brought no usage, so what they were billed is not known"
EXPECTED_WINS = "expected wins (win mass): the sum of the scores, so how many rows strong should answer better"
STRONG_SHARE = "strong share (strong fraction): rows that went strong, of all that went to either side"
DRIFT = (
    "drift: whether scores are spread as in the first run, by the stability index (PSI); below 0.10 is no change, "
    "above 0.25 a clear one"
)
APGR = (
    "APGR: how much of the difference in quality a router keeps, the mean over all shares of strong calls (chance "
    "is 0.5); CPT50: the percentage of strong calls that keeps half of it; AUC: mean quality over all shares"
)
BUILTIN_ROUTER = (
    "the built-in router ranks a little better than prompt length does, where that was measured: measure it on "
    "rows of your own with evaluate, or train one on them"
)
