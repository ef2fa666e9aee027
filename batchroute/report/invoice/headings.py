"""Which column of a provider's table is what, found by its name.

The names are those of exports seen in November 2026: OpenAI's costs and usage, Anthropic's cost and usage,
Azure's cost details, OpenRouter's activity, FOCUS datasets, plain `date,model,usd`. Case does not matter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchroute.errors import UsageFault
from batchroute.input.names import instead_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Of several that a table has, the first is taken.
_DATE = (
    *("starttimeiso", "usagedateutc", "dateutc", "chargeperiodstart", "usagedate", "usagedatetime", "date", "day"),
    *("createdat", "startingat", "bucketstarttime", "starttime", "periodstart", "timestamp", "datetime", "time"),
)
_MODEL = (
    *("modelversion", "modelpermaslug", "xmodel", "modelname", "modelid", "model", "resourcename", "lineitem"),
    *("metername", "skumeter", "skuid", "description"),
)
_USD = (
    *("costusd", "costinusd", "amountusd", "totalcostusd", "usd", "amountvalue", "billedcost", "costtotal"),
    *("totalcost", "costinbillingcurrency", "pretaxcost", "amount", "cost", "spend", "usage"),
)
_CENTS = ("cents", "costcents", "amountcents", "costincents", "amountincents")
_CURRENCY = ("amountcurrency", "billingcurrency", "billingcurrencycode", "currency")
# All of a prompt's tokens, or its parts, which some providers count one beside the other.
_PROMPT = ("inputtokens", "prompttokens", "tokensprompt", "prompt", "input")
_PROMPT_PARTS = (
    *("usageinputtokensnocache", "uncachedinputtokens", "usageinputtokenscacheread", "cachereadinputtokens"),
    *("usageinputtokenscachewrite5m", "usageinputtokenscachewrite1h", "cachecreationinputtokens"),
)
_OUTPUT = ("outputtokens", "completiontokens", "tokenscompletion", "usageoutputtokens", "output", "completion")
KEYS = ("date", "model", "usd", "cents", "currency", "prompt", "output")  # of what a column may be said to hold


@dataclass(frozen=True, slots=True)
class Headings:
    """The columns of a table by what they hold; None where it has none.

    `model` is the first of these that says anything on a line, `prompt` is a sum of several.
    """

    date: str
    model: tuple[str, ...]
    usd: str | None
    cents: str | None
    currency: str | None
    prompt: tuple[str, ...]
    output: str | None
    quantity: str | None = None  # FOCUS: tokens of the kind that the meter names
    meter: str | None = None

    def named(self) -> dict[str, str]:
        """By what they hold, for those who want to see what was found."""
        every = {
            "date": self.date,
            "model": ", ".join(self.model) or None,
            "usd": self.usd,
            "cents": self.cents,
            "prompt": ", ".join(self.prompt) or None,
            "output": self.output,
            "quantity": self.quantity,
        }
        return {key: name for key, name in every.items() if name is not None}


def find_headings(names: Sequence[str], said: Mapping[str, str]) -> Headings:
    """The columns of a table with these `names`; `said` names some of them itself, as {"usd": "my cost"}.

    UsageFault where there is no date, or neither an amount nor tokens.
    """
    there = {_plain(name): name for name in reversed(names)}
    for key, name in said.items():
        if key not in KEYS:
            raise UsageFault(f"--columns {key}=...: must be one of {', '.join(KEYS)}")
        if name not in names:
            raise UsageFault(f"--columns {key}={name}: the file has no such column; {instead_of(name, names)}")

    def first(key: str, candidates: Sequence[str]) -> str | None:
        return said.get(key) or next((there[name] for name in candidates if name in there), None)

    date, cents = first("date", _DATE), first("cents", _CENTS)
    if date is None:
        raise UsageFault(f"no column is a date; say which with --columns date=NAME; it has {', '.join(names)}")
    is_focus = "consumedquantity" in there and "skumeter" in there
    prompt = first("prompt", _PROMPT)
    parts = tuple(there[name] for name in _PROMPT_PARTS if name in there)
    found = Headings(
        date=date,
        model=(said["model"],) if "model" in said else tuple(there[name] for name in _MODEL if name in there),
        usd=None if cents else first("usd", _USD),
        cents=cents,
        currency=first("currency", _CURRENCY),
        prompt=(prompt,) if prompt and ("prompt" in said or len(parts) < 2) else parts,
        output=first("output", _OUTPUT),
        quantity=there["consumedquantity"] if is_focus else None,
        meter=there["skumeter"] if is_focus else None,
    )
    if not (found.usd or found.cents or (found.prompt and found.output)):
        advice = "say which with --columns usd=NAME (or cents=NAME)"
        raise UsageFault(f"no column is an amount, nor are there tokens; {advice}; it has {', '.join(names)}")
    return found


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
