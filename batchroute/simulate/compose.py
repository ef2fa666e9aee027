"""Composes the flawless answer to a question: its length, its text, its bill. Knows no dialect and no fault."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from batchroute.simulate.answer import CHARS_PER_TOKEN, Call, FlawlessAnswer, TrueBill
from batchroute.simulate.judge import verdict
from batchroute.simulate.schema import instance
from batchroute.simulate.skill import skilled_text, stand_in

if TYPE_CHECKING:
    from batchroute.simulate.behaviour import Behaviour
    from batchroute.simulate.cache import CacheUse
    from batchroute.simulate.question import Question, Terms
    from batchroute.simulate.skill import Draw

FILL = "The words from here on are padding that brings the text to the length its usage claims. "


def prompt_tokens(question: Question, behaviour: Behaviour) -> int:
    """What the whole prompt is billed as."""
    media = behaviour.media_tokens * question.media() if behaviour.media_tokens else 0
    return max(1, int(question.characters() / behaviour.characters_per_token) + media)


def compose(question: Question, use: CacheUse, draw: Draw, number: int, behaviour: Behaviour) -> FlawlessAnswer:
    """`draw` sets the length and what is right, `number` the ids; `use` is what the cache does for the prompt.

    ValueError where the answer is to fit a schema that nothing fits.
    """
    # response_tokens = 150 and a draw of 0.25 make 112 tokens, a draw of 0.99 makes 223; with max_tokens = 200 the
    # first ends with "stop" and the second, cut to 200, with "length". Reasoning comes on top and counts, too.
    terms = question.terms()
    wanted = max(1, int(behaviour.response_tokens * (0.5 + draw("length")))) + behaviour.reasoning_tokens
    cap = terms.most_tokens if behaviour.honour_max_tokens else None
    tokens = wanted if cap is None else min(cap, wanted)
    reasoning = min(behaviour.reasoning_tokens, tokens)
    named, billed = _tier(terms.tier, behaviour)
    bill = TrueBill(
        question.model,
        billed,
        prompt_tokens(question, behaviour),
        use.read_tokens,
        use.written_tokens,
        use.written_1h_tokens,
        tokens * terms.choices,
        reasoning * terms.choices,
    )
    cut_at = CHARS_PER_TOKEN * (tokens - reasoning) if tokens < wanted else None
    if terms.tool is not None:
        call = Call(terms.tool.name, _json(terms.tool.schema)[:cut_at])
        return FlawlessAnswer(number, bill, "tool" if cut_at is None else "length", call=call, tier=named)
    form = _formal(question, terms, draw, behaviour)
    text = _text(question, tokens - reasoning, draw, behaviour) if form is None else form[:cut_at]
    return FlawlessAnswer(number, bill, "stop" if cut_at is None else "length", text, tier=named)


def _tier(asked: str | None, behaviour: Behaviour) -> tuple[str | None, str]:
    """The tier that the answer names, and the one that is billed."""
    usual = "default" if asked in {None, "auto"} else str(asked)
    if usual not in behaviour.tier_answers:
        return usual, usual
    named = behaviour.tier_answers[usual]
    return named, named or usual


def _json(schema: dict[str, object]) -> str:
    return msgspec.json.encode(instance(schema)).decode()


def _formal(question: Question, terms: Terms, draw: Draw, behaviour: Behaviour) -> str | None:
    """A judge's verdict, or an instance of the schema; None where neither is asked for."""
    skill = 1.0 if behaviour.skill is None else behaviour.skill
    judged = verdict(question.user_text(), terms.schema, skill, _own(draw, question.model))
    return _json(terms.schema) if judged is None and terms.schema is not None else judged


def _text(question: Question, tokens: int, draw: Draw, behaviour: Behaviour) -> str:
    """About four characters a token; what is said before the padding is never cut off."""
    said = stand_in(question.model)
    if behaviour.skill is not None:
        said = skilled_text(question.user_text(), behaviour.skill, question.model, _own(draw, question.model))
    # As if each token were four characters, so that the length of a text agrees with what is billed for it.
    missing = CHARS_PER_TOKEN * tokens - len(said)
    return said + (FILL * (missing // len(FILL) + 1))[:missing] if missing > 0 else said


def _own(draw: Draw, model: str) -> Draw:
    """Two models are right by chances of their own, and as long as each other."""
    return lambda purpose: draw(f"{purpose} {model}")
