r"""The letter that an answer to a multiple-choice question states.

Of several letters the last that is stated as the answer counts. In this order:

    1. the letter is all there is              "b"  "**C**"  "(B)."  "\boxed{\text{B}}"
    2. the last that is called the answer,     "The answer is (B)."  "Answer: D"  "I would go with C"
       or stands alone on a line
    3. the one that it begins with             "B) because A is wrong"
    4. the last that stands by itself          "Neither A nor B holds, so C."

An answer that goes through several options line by line, and calls none of them the answer, states none.
Options are Latin letters; "A" and "I" before a word are words.
"""

from __future__ import annotations

import re

from batchroute.grade.final import boxed

_MARKUP = re.compile(r"\\[A-Za-z]{1,20}|[*_`#${}\"\u201c\u201d\u201e]")
_ENDS = r"(?![A-Za-z0-9]|['\u2019.][a-z])"
_BEGINS = r"(?<![A-Za-z0-9'\u2019])"
_LETTER = rf"{_BEGINS}(?:[A-HJ-Z]|I(?!\ [a-z])|[b-hj]|a(?!\s?\w)){_ENDS}"
_CALLED = "answer|solution|choice|option|antwort|lösung|réponse|respuesta|risposta|resposta"
_CHOSEN = (
    r"\bit(?:['\u2019]s|\ is|\ (?:must|should|would|has\ to)\ be)\b"
    r"|\b(?:choose|chose|pick|select|going?\ with)\b|答案|选择?|選択?|正解|答え"
)
_IS = r"\b(?:is|be|was|ist|est|es)\b|è|é|是|为|は|[:=>\u2192\uff1a-]"
_FILLERS = r"\b(?:option|choice|letter|answer|most|likely|clearly|therefore|thus|the|correct)\b|[(\[]"

_ALONE = re.compile(r"\W*(?:(?i:option)\s)?([A-Za-z])\W*")
_STATED = re.compile(
    rf"""
    (?i: (?:{_CALLED})\s{{0,3}}(?:(?:would|should|must|will)\s)?(?:{_IS}) | {_CHOSEN} )
    (?i: \s{{0,3}}(?:{_IS}|{_FILLERS}) ){{0,6}} \s{{0,3}} (?P<called>{_LETTER})
    |
    (?P<praised>{_BEGINS}[A-Z]{_ENDS})[)\].:,]{{0,2}} \s (?:is|would\ be|must\ be|seems) \s
    (?:the\s)? (?:only\s|most\s|likely\s)? (?:correct|right|best|true|answer)\b
    |
    ^[^\w\n]{{0,8}} (?:(?i:option)\s)? (?P<lonely>[A-Z]) [^\w\n]{{0,8}}$
    """,
    re.VERBOSE | re.MULTILINE,
)
_LABEL = re.compile(r"^\s{0,8}[-(\[]{0,2}([A-Z])[).:\]]", re.MULTILINE)
_FIRST = re.compile(
    rf"\W{{0,8}}(?P<first>[A-Za-z](?=[).:,\]])|[B-HJ-Z]{_ENDS}|[AI]{_ENDS}(?=\s*$|\n|\s(?:because|since|as|is|-|\u2013|\u2014)))"
)
_BY_ITSELF = re.compile(rf"{_BEGINS}(?:[B-HJ-Z]|[AI](?!\ [a-z])){_ENDS}")


def chosen_letter(text: str) -> str | None:
    """The letter as a capital; None where none is stated."""
    box = boxed(text)
    found = (_in_words(box) if box else None) or _in_words(text)
    return found and found.upper()


def only_letter(text: str) -> str | None:
    """The letter that a text is, but for signs around it, as a capital; None where it is anything else."""
    alone = _ALONE.fullmatch(_MARKUP.sub("", boxed(text) or text))
    return alone and alone[1].upper()


def _in_words(text: str) -> str | None:
    plain = _MARKUP.sub("", text).strip()
    if alone := _ALONE.fullmatch(plain):
        return alone[1]
    if stated := [match[match.lastgroup or 0] for match in _STATED.finditer(plain)]:
        return stated[-1]
    labels = _LABEL.findall(plain)
    goes_through = len(labels) > 1 and ord(labels[1]) == ord(labels[0]) + 1
    if not goes_through and (first := _FIRST.match(plain)):
        return first["first"]
    if len(labels) > 1:
        return None
    standing = _BY_ITSELF.findall(plain)
    return standing[-1] if standing else None
